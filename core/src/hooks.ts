// Hooks are questions before something happens: plugins tap them to answer, change or refuse. tapable executes them; it
// has neither removal, nor deadlines, nor `after`, so the order is ours and the tapable hook is made anew when the taps
// change.

import tapable from 'tapable';
import type { Clock } from './clock.ts';
import { errors } from './core-errors.ts';
import { Deadlines } from './deadlines.ts';
import type { Gate } from './gate.ts';
import {
  type AnyFunction,
  type CallOptions,
  failure,
  nullAnswer,
  ParallelCall,
  SeriesCall,
  type Tap,
} from './hook-call.ts';
import { makeAsyncStep, makeSyncStep, type Running } from './hook-steps.ts';
import type { Scope } from './scope.ts';
import { orderTaps } from './tap-order.ts';
import type { HookKind, HookToken } from './tokens.ts';
import { type Tracer, traceChannels } from './tracing.ts';

export interface TapOptions {
  /** Lower runs earlier; default 0. */
  readonly stage?: number;
  /** Run before the taps of these plugins. */
  readonly before?: string | readonly string[];
  /** Run after the taps of these plugins. */
  readonly after?: string | readonly string[];
  /** Deadline of an asynchronous tap in ms; default is the runtime's `tapMs`. */
  readonly timeoutMs?: number;
}

type Opinion<R> = R | undefined | void;
export type TapFunction<K extends HookKind, A extends readonly unknown[], R> = K extends 'sync' | 'sync-bail'
  ? (...args: A) => Opinion<R>
  : (...args: A) => Opinion<R> | Promise<Opinion<R>>;

export type CallResult<K extends HookKind, A extends readonly unknown[], R> = K extends 'sync'
  ? void
  : K extends 'sync-bail'
    ? R | undefined
    : K extends 'bail'
      ? Promise<R | undefined>
      : K extends 'waterfall'
        ? Promise<A[0]>
        : Promise<void>;

export interface HookBus {
  /** @throws CORE_ERR_HOOK_KIND, CORE_ERR_HOOK_ORDER */
  tap<K extends HookKind, A extends readonly unknown[], R>(
    hook: HookToken<K, A, R>,
    fn: NoInfer<TapFunction<K, A, R>>,
    options?: TapOptions,
  ): Disposable;
  /**
   * A failing tap ends the call with CORE_ERR_TAP_FAILED (which names the plugin; the cause is what it threw), a late one
   * with CORE_ERR_TAP_TIMEOUT. In a parallel hook all taps run to their end, and several failures make an AggregateError.
   */
  call<K extends HookKind, A extends readonly unknown[], R>(
    hook: HookToken<K, A, R>,
    ...args: NoInfer<A>
  ): CallResult<K, A, R>;
}

type AnyToken = Pick<HookToken<HookKind, readonly unknown[], unknown>, 'id' | 'hookKind' | 'args'>;
/** tapable's types fix the number of arguments; ours is known only at run time. */
interface TapableHook {
  tap(name: string, fn: AnyFunction): void;
  tapPromise(name: string, fn: AnyFunction): void;
  call(...args: readonly unknown[]): unknown;
  callAsync(...args: readonly unknown[]): void;
}

/** The taps of a hook in their order, compiled by tapable. */
interface Executor {
  readonly hook: TapableHook;
  readonly options: CallOptions;
}

type TapableClass = new (args: string[], name: string) => TapableHook;
const TAPABLE = {
  series: tapable.AsyncSeriesHook,
  parallel: tapable.AsyncParallelHook,
  bail: tapable.AsyncSeriesBailHook,
  waterfall: tapable.AsyncSeriesWaterfallHook,
  sync: tapable.SyncHook,
  'sync-bail': tapable.SyncBailHook,
} as unknown as Readonly<Record<HookKind, TapableClass>>;

export interface HookTableOptions {
  readonly tracer: Tracer;
  readonly clock: Clock;
  /** Default deadline of a tap, in ms. */
  readonly tapMs: number;
  /** How long a call waits for a plugin that is being reloaded, in ms. */
  readonly swapMs: number;
}

export interface HookReport {
  readonly hook: string;
  readonly kind: HookKind;
  readonly taps: readonly { readonly plugin: string; readonly stage: number }[];
}

/** The hooks of one runtime. */
export class HookTable {
  readonly #slots: Map<string, HookSlot> = new Map();
  readonly #ranks: Map<string, number> = new Map();
  readonly #parked: Set<string> = new Set();
  readonly #deadlines: Map<number, Deadlines> = new Map();
  readonly #options: HookTableOptions;

  constructor(options: HookTableOptions) {
    this.#options = options;
  }

  /** The view of one plugin; its taps go through `gate` and end with `scope`. */
  view(scope: Scope, gate: Gate): HookBus {
    const rank = this.#rank(scope.owner);
    return {
      tap: (hook, fn, options) => this.#slot(hook).tap(scope, gate, rank, fn as AnyFunction, options ?? {}),
      call: <K extends HookKind, A extends readonly unknown[], R>(hook: HookToken<K, A, R>, ...args: A) =>
        this.#slot(hook).call(scope.owner, args) as CallResult<K, A, R>,
    };
  }

  /** From now until {@link unpark}, taps whose scope closes are kept as orphans that calls wait for. */
  park(owner: string): void {
    this.#parked.add(owner);
  }

  unpark(owner: string): void {
    this.#parked.delete(owner);
    for (const slot of this.#slots.values()) slot.dropOrphans(owner);
  }

  report(): readonly HookReport[] {
    return Array.from(this.#slots.values(), (slot) => slot.report());
  }

  #rank(owner: string): number {
    const known = this.#ranks.get(owner);
    if (known !== undefined) return known;
    this.#ranks.set(owner, this.#ranks.size);
    return this.#ranks.size - 1;
  }

  #deadlinesOf(ms: number): Deadlines {
    let deadlines = this.#deadlines.get(ms);
    if (deadlines === undefined) {
      deadlines = new Deadlines(this.#options.clock, ms);
      this.#deadlines.set(ms, deadlines);
    }
    return deadlines;
  }

  #slot(token: AnyToken): HookSlot {
    const slot = this.#slots.get(token.id);
    return slot !== undefined && slot.kind === token.hookKind ? slot : this.#addSlot(token, slot);
  }

  /** By itself, since the shorter a function is the sooner it is inlined. */
  #addSlot(token: AnyToken, known: HookSlot | undefined): HookSlot {
    if (known !== undefined) {
      throw errors.CORE_ERR_HOOK_KIND({ details: { hook: token.id, is: known.kind, asked: token.hookKind } });
    }
    const slot = new HookSlot(token, this.#options, this.#parked, (ms) => this.#deadlinesOf(ms));
    this.#slots.set(token.id, slot);
    return slot;
  }
}

function list(names: string | readonly string[] | undefined): readonly string[] {
  return names === undefined ? [] : typeof names === 'string' ? [names] : names;
}

class HookSlot {
  readonly id: string;
  readonly kind: HookKind;
  readonly #isSync: boolean;
  /** How many arguments a tap gets; one at least, since a waterfall carries its answer in the first. */
  readonly #arity: number;
  readonly #options: HookTableOptions;
  readonly #parked: ReadonlySet<string>;
  readonly #deadlinesOf: (ms: number) => Deadlines;
  readonly #taps: Set<Tap> = new Set();
  /** `undefined` when the taps changed since. Calls under way keep the one they began with. */
  #executor: Executor | undefined;
  #sequence = 0;
  readonly #running: Running = { tap: undefined };

  constructor(
    token: AnyToken,
    options: HookTableOptions,
    parked: ReadonlySet<string>,
    deadlinesOf: (ms: number) => Deadlines,
  ) {
    this.id = token.id;
    this.kind = token.hookKind;
    this.#isSync = token.hookKind === 'sync' || token.hookKind === 'sync-bail';
    this.#arity = Math.max(1, token.args.length);
    this.#options = options;
    this.#parked = parked;
    this.#deadlinesOf = deadlinesOf;
  }

  report(): HookReport {
    const taps = this.#order([...this.#taps]).map(({ owner, stage }) => ({ plugin: owner, stage }));
    return { hook: this.id, kind: this.kind, taps };
  }

  tap(scope: Scope, gate: Gate, rank: number, fn: AnyFunction, options: TapOptions): Disposable {
    const timeoutMs = options.timeoutMs ?? this.#options.tapMs;
    const index = [...this.#taps].filter((t) => t.owner === scope.owner && t.isLive).length;
    const orphan = [...this.#taps].find((t) => t.owner === scope.owner && t.isOrphan && t.index === index);
    this.#sequence += 1;
    const tap: Tap = {
      hook: this.id,
      kind: this.kind,
      owner: scope.owner,
      rank,
      gate,
      fn,
      index,
      timeoutMs,
      stage: options.stage ?? 0,
      sequence: this.#sequence,
      before: list(options.before),
      after: list(options.after),
      isLive: true,
      isOrphan: false,
      successor: undefined,
      step: undefined,
    };
    // Refuses a circle now, at the tap that closes it, rather than at some later call.
    this.#order([...this.#taps].filter((t) => t !== orphan).concat(tap));
    const registration = scope.defer(`tap ${this.id}`, () => this.#untap(tap));
    if (orphan !== undefined) {
      orphan.successor = tap;
      this.#taps.delete(orphan);
    }
    this.#taps.add(tap);
    this.#executor = undefined;
    return registration;
  }

  dropOrphans(owner: string): void {
    for (const tap of this.#taps) {
      if (tap.owner === owner && tap.isOrphan) this.#remove(tap);
    }
  }

  #untap(tap: Tap): void {
    tap.isLive = false;
    // A sync hook cannot wait for a successor.
    tap.isOrphan = this.#parked.has(tap.owner) && !this.#isSync;
    if (!tap.isOrphan) this.#remove(tap);
  }

  #remove(tap: Tap): void {
    tap.isOrphan = false;
    this.#taps.delete(tap);
    this.#executor = undefined;
  }

  call(caller: string, args: readonly unknown[]): unknown {
    this.#executor ??= this.#build();
    const executor = this.#executor;
    if (traceChannels.hook.hasSubscribers) return this.#callTraced(executor, caller, args);
    return this.#isSync ? this.#callSync(executor, args) : this.#callAsync(executor, caller, args);
  }

  #callTraced(executor: Executor, caller: string, args: readonly unknown[]): unknown {
    const call = (): unknown =>
      this.#isSync ? this.#callSync(executor, args) : this.#callAsync(executor, caller, args);
    return this.#options.tracer.span('hook', this.id, caller, call, { args: [...args] });
  }

  #callSync({ hook }: Executor, args: readonly unknown[]): unknown {
    const running = this.#running;
    const outer = running.tap;
    try {
      // The usual number of arguments is written out, here and below, since spreading them costs as much as a tap.
      return args.length === 1 ? hook.call(args[0]) : hook.call(...args);
    } catch (cause) {
      throw running.tap === undefined ? cause : failure(running.tap, cause);
    } finally {
      // A tap that called its own hook goes on.
      running.tap = outer;
    }
  }

  #callAsync({ hook, options }: Executor, caller: string, args: readonly unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const isParallel = this.kind === 'parallel';
      const call = isParallel
        ? new ParallelCall(caller, options, resolve, reject)
        : new SeriesCall(caller, options, resolve, reject);
      if (this.kind === 'waterfall') {
        if (this.#arity === 1) hook.callAsync(args[0], call, call.done);
        else hook.callAsync(args[0], call, ...this.#padded(args).slice(1), call.done);
      } else if (this.#arity === 1) hook.callAsync(call, args[0], call.done);
      else hook.callAsync(call, ...this.#padded(args), call.done);
    });
  }

  /** tapable puts arguments where they belong by counting them, and the last may be optional. */
  #padded(args: readonly unknown[]): readonly unknown[] {
    return args.length === this.#arity ? args : Array.from({ length: this.#arity }, (_, i) => args[i]);
  }

  #order(taps: readonly Tap[]): readonly Tap[] {
    const { order, cycle } = orderTaps(taps) as { order?: readonly Tap[]; cycle?: readonly string[] };
    if (order !== undefined) return order;
    throw errors.CORE_ERR_HOOK_ORDER({ details: { hook: this.id, cycle: cycle?.join(' → ') } });
  }

  #build(): Executor {
    // tapable compiles these names into code, so the token's own, which may come from another process, are not used.
    const names = Array.from({ length: this.#arity }, (_, i) => `a${i}`);
    if (this.kind === 'waterfall') names.splice(1, 0, 'call');
    else if (!this.#isSync) names.unshift('call');
    const hook = new TAPABLE[this.kind](names, this.id);
    const taps = this.#order([...this.#taps]);
    for (const tap of taps) {
      tap.step ??= this.#isSync
        ? makeSyncStep(tap, this.#arity, this.#running, checkSyncAnswer)
        : makeAsyncStep(tap, this.#arity);
      // Those of a parallel hook only begin what the call waits for: tapable would end it at the first failure.
      if (this.#isSync || this.kind === 'parallel') hook.tap(tap.owner, tap.step);
      else hook.tapPromise(tap.owner, tap.step);
    }
    const shortestMs = Math.min(this.#options.tapMs, ...taps.map(({ timeoutMs }) => timeoutMs));
    const options = { hook: this.id, deadlines: this.#deadlinesOf(shortestMs), swapMs: this.#options.swapMs };
    return { hook, options };
  }
}

function checkSyncAnswer(tap: Tap, answer: unknown): void {
  if (answer === null && tap.kind === 'sync-bail') throw nullAnswer(tap);
  if (answer instanceof Promise) {
    answer.catch(() => {});
    throw errors.CORE_ERR_HOOK_SYNC({ plugin: tap.owner, details: { hook: tap.hook, plugin: tap.owner } });
  }
}
