// Hooks are questions before something happens: plugins tap them to answer, change or refuse. tapable executes them; it
// has neither removal, nor deadlines, nor `after`, so the order is ours and the tapable hook is made anew when the taps
// change.

import tapable from 'tapable';
import type { Clock } from './clock.ts';
import { errors } from './core-errors.ts';
import { type Deadline, Deadlines } from './deadlines.ts';
import { isRuntimeError } from './errors.ts';
import type { Gate } from './gate.ts';
import type { Scope } from './scope.ts';
import { type Orderable, orderTaps } from './tap-order.ts';
import type { HookKind, HookToken } from './tokens.ts';
import type { Tracer } from './tracing.ts';

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
    fn: TapFunction<K, A, R>,
    options?: TapOptions,
  ): Disposable;
  /**
   * A failing tap ends the call with CORE_ERR_TAP_FAILED (which names the plugin; the cause is what it threw), a late one
   * with CORE_ERR_TAP_TIMEOUT. In a parallel hook all taps run to their end, and several failures make an AggregateError.
   */
  call<K extends HookKind, A extends readonly unknown[], R>(hook: HookToken<K, A, R>, ...args: A): CallResult<K, A, R>;
}

type AnyToken = Pick<HookToken<HookKind, readonly unknown[], unknown>, 'id' | 'hookKind' | 'args'>;
type AnyFunction = (...args: readonly unknown[]) => unknown;
/** Node's convention, as tapable's `tapAsync` wants it. */
type Done = (error: unknown, result?: unknown) => void;

interface Tap extends Orderable {
  readonly gate: Gate;
  readonly fn: AnyFunction;
  readonly timeoutMs: number;
  readonly deadlines: Deadlines;
  /** Position among the taps of the same plugin on the same hook: what its successor after a reload is found by. */
  readonly index: number;
  /**
   * `orphan`: its plugin is being reloaded and has not tapped again yet; calls wait for its successor, so that a swap
   * of, say, the sandbox never lets a process start without its jail. `removed`: skipped.
   */
  state: 'live' | 'orphan' | 'removed';
  successor: Tap | undefined;
}

/** Travels with an asynchronous call as its last argument. */
interface AsyncCall {
  readonly caller: string;
  /** Of a parallel call. */
  readonly failures: unknown[];
}

/** tapable's types fix the number of arguments; ours is known only at run time. */
interface Executor {
  tap(name: string, fn: AnyFunction): void;
  tapAsync(name: string, fn: (...args: unknown[]) => void): void;
  call(...args: readonly unknown[]): unknown;
  callAsync(...args: readonly unknown[]): void;
}

type ExecutorClass = new (args: string[], name: string) => Executor;
const EXECUTORS = {
  series: tapable.AsyncSeriesHook,
  parallel: tapable.AsyncParallelHook,
  bail: tapable.AsyncSeriesBailHook,
  waterfall: tapable.AsyncSeriesWaterfallHook,
  sync: tapable.SyncHook,
  'sync-bail': tapable.SyncBailHook,
} as unknown as Readonly<Record<HookKind, ExecutorClass>>;

const SYNC_KINDS: ReadonlySet<HookKind> = new Set(['sync', 'sync-bail']);

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
    let slot = this.#slots.get(token.id);
    if (slot === undefined) {
      slot = new HookSlot(token, this.#options, this.#parked, (ms) => this.#deadlinesOf(ms));
      this.#slots.set(token.id, slot);
    } else if (slot.kind !== token.hookKind) {
      throw errors.CORE_ERR_HOOK_KIND({ details: { hook: token.id, is: slot.kind, asked: token.hookKind } });
    }
    return slot;
  }
}

function list(names: string | readonly string[] | undefined): readonly string[] {
  return names === undefined ? [] : typeof names === 'string' ? [names] : names;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

class HookSlot {
  readonly id: string;
  readonly kind: HookKind;
  /** How many arguments a tap gets; one at least, since a waterfall carries its answer in the first. */
  readonly #arity: number;
  readonly #options: HookTableOptions;
  readonly #parked: ReadonlySet<string>;
  readonly #deadlinesOf: (ms: number) => Deadlines;
  readonly #taps: Set<Tap> = new Set();
  /** `undefined` when the taps changed since. Calls under way keep the one they began with. */
  #executor: Executor | undefined;
  #sequence = 0;
  /** The tap of a sync hook that runs, to name it if it throws: cheaper than a try block in each. */
  #running: Tap | undefined;

  constructor(
    token: AnyToken,
    options: HookTableOptions,
    parked: ReadonlySet<string>,
    deadlinesOf: (ms: number) => Deadlines,
  ) {
    this.id = token.id;
    this.kind = token.hookKind;
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
    const index = [...this.#taps].filter((t) => t.owner === scope.owner && t.state === 'live').length;
    const orphan = [...this.#taps].find((t) => t.owner === scope.owner && t.state === 'orphan' && t.index === index);
    this.#sequence += 1;
    const tap: Tap = {
      owner: scope.owner,
      rank,
      gate,
      fn,
      index,
      timeoutMs,
      deadlines: this.#deadlinesOf(timeoutMs),
      stage: options.stage ?? 0,
      sequence: this.#sequence,
      before: list(options.before),
      after: list(options.after),
      state: 'live',
      successor: undefined,
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
      if (tap.owner === owner && tap.state === 'orphan') this.#remove(tap);
    }
  }

  #untap(tap: Tap): void {
    // A sync hook cannot wait for a successor.
    const waitable = this.#parked.has(tap.owner) && !SYNC_KINDS.has(this.kind);
    if (waitable) tap.state = 'orphan';
    else this.#remove(tap);
  }

  #remove(tap: Tap): void {
    tap.state = 'removed';
    this.#taps.delete(tap);
    this.#executor = undefined;
  }

  call(caller: string, args: readonly unknown[]): unknown {
    const { tracer } = this.#options;
    if (!tracer.enabled('hook')) return this.#execute(caller, args);
    return tracer.span('hook', this.id, caller, () => this.#execute(caller, args), { args: [...args] });
  }

  #execute(caller: string, args: readonly unknown[]): unknown {
    this.#executor ??= this.#build();
    if (SYNC_KINDS.has(this.kind)) return this.#callSync(this.#executor, args);
    return this.#callAsync(this.#executor, caller, args);
  }

  #callSync(executor: Executor, args: readonly unknown[]): unknown {
    const outer = this.#running;
    try {
      return executor.call(...args);
    } catch (cause) {
      throw this.#running === undefined ? cause : this.#failure(this.#running, cause);
    } finally {
      // A tap that called its own hook goes on.
      this.#running = outer;
    }
  }

  #callAsync(executor: Executor, caller: string, args: readonly unknown[]): Promise<unknown> {
    const { length } = args;
    // tapable puts arguments where they belong by counting them, and the last may be optional.
    const all = length === this.#arity ? args : Array.from({ length: this.#arity }, (_, i) => args[i]);
    return new Promise((resolve, reject) => {
      const failures: unknown[] = [];
      const call: AsyncCall = { caller, failures };
      const done: Done = (error, result) => {
        if (error) reject(error);
        else if (failures.length === 1) reject(failures[0]);
        else if (failures.length > 1)
          reject(new AggregateError(failures, `${failures.length} taps of ${this.id} failed`));
        else resolve(result);
      };
      executor.callAsync(...all, call, done);
    });
  }

  #order(taps: readonly Tap[]): readonly Tap[] {
    const { order, cycle } = orderTaps(taps) as { order?: readonly Tap[]; cycle?: readonly string[] };
    if (order !== undefined) return order;
    throw errors.CORE_ERR_HOOK_ORDER({ details: { hook: this.id, cycle: cycle?.join(' → ') } });
  }

  #build(): Executor {
    const isSync = SYNC_KINDS.has(this.kind);
    // tapable compiles these names into code, so the token's own, which may come from another process, are not used.
    const names = Array.from({ length: this.#arity }, (_, i) => `a${i}`);
    const executor = new EXECUTORS[this.kind](isSync ? names : [...names, 'call'], this.id);
    for (const tap of this.#order([...this.#taps])) {
      if (isSync) executor.tap(tap.owner, this.#syncStep(tap));
      else executor.tapAsync(tap.owner, this.#asyncStep(tap));
    }
    return executor;
  }

  #syncStep(tap: Tap): AnyFunction {
    return (...args) => {
      if (tap.state !== 'live') return undefined;
      this.#running = tap;
      const answer = tap.fn(...args);
      if (answer !== undefined) this.#checkSyncAnswer(tap, answer);
      return answer;
    };
  }

  #checkSyncAnswer(tap: Tap, answer: unknown): void {
    const details = { hook: this.id, plugin: tap.owner };
    if (answer === null && this.kind === 'sync-bail') throw errors.CORE_ERR_HOOK_NULL({ plugin: tap.owner, details });
    if (answer instanceof Promise) {
      answer.catch(() => {});
      throw errors.CORE_ERR_HOOK_SYNC({ plugin: tap.owner, details });
    }
  }

  #asyncStep(tap: Tap): (...args: unknown[]) => void {
    const isParallel = this.kind === 'parallel';
    return (...args) => {
      const done = args.pop() as Done;
      const call = args.pop() as AsyncCall;
      if (!isParallel) return this.#runTap(tap, call, args, done);
      // tapable would end the call at the first failure and forget the others.
      this.#runTap(tap, call, args, (error) => {
        if (error) call.failures.push(error);
        done(null);
      });
    };
  }

  /**
   * Calls `done` exactly once, whatever the tap does: throw, reject, answer late or never. (tapable itself would never
   * settle after a synchronous throw in a later promise tap.)
   */
  #runTap(known: Tap, call: AsyncCall, args: readonly unknown[], done: Done): void {
    // Its plugin may have been reloaded since the call began.
    let tap = known;
    while (tap.successor !== undefined) tap = tap.successor;
    if (tap.state === 'removed') return done(null);
    if (!tap.gate.admits(call.caller)) {
      return this.#runTapLater(tap, call, args, done);
    }
    // The plugin's own call while it has not tapped again.
    if (tap.state === 'orphan') return done(null);
    let answer: unknown;
    try {
      answer = tap.fn(...args);
      // A thenable may throw or answer twice; a promise made of it does neither.
      if (isThenable(answer)) answer = Promise.resolve(answer);
    } catch (cause) {
      return done(this.#failure(tap, cause));
    }
    if (answer === undefined) return done(null);
    if (answer instanceof Promise) return this.#awaitTap(tap, answer, done);
    this.#answer(tap, answer, done);
  }

  #answer(tap: Tap, answer: unknown, done: Done): void {
    if (answer === null && this.kind === 'bail') {
      return done(errors.CORE_ERR_HOOK_NULL({ plugin: tap.owner, details: { hook: this.id, plugin: tap.owner } }));
    }
    done(null, answer);
  }

  #awaitTap(tap: Tap, answer: Promise<unknown>, done: Done): void {
    tap.gate.enter();
    let settled = false;
    const deadline: Deadline = {
      expire: () => {
        settled = true;
        tap.gate.leave();
        done(this.#late(tap, tap.timeoutMs));
      },
    };
    const slice = tap.deadlines.add(deadline);
    const settle = (): void => {
      settled = true;
      slice.delete(deadline);
      tap.gate.leave();
    };
    answer.then(
      (value) => {
        if (settled) return;
        settle();
        this.#answer(tap, value, done);
      },
      (cause: unknown) => {
        if (settled) return;
        settle();
        done(this.#failure(tap, cause));
      },
    );
  }

  /** Its plugin is being reloaded: the tap of the new instance at the same position answers instead. */
  #runTapLater(tap: Tap, call: AsyncCall, args: readonly unknown[], done: Done): void {
    const { swapMs } = this.#options;
    const afterSwap = (): Promise<unknown> => {
      return new Promise((resolve, reject) => {
        this.#runTap(tap, call, args, (error, value) => (error ? reject(error) : resolve(value)));
      });
    };
    tap.gate
      .pass(swapMs, afterSwap, () => this.#late(tap, swapMs))
      .then(
        (value) => done(null, value),
        (error: unknown) => done(error),
      );
  }

  #late(tap: Tap, ms: number): Error {
    return errors.CORE_ERR_TAP_TIMEOUT({ plugin: tap.owner, details: { hook: this.id, plugin: tap.owner, ms } });
  }

  #failure(tap: Tap, cause: unknown): unknown {
    if (isRuntimeError(cause) && cause.plugin === tap.owner && cause.code.startsWith('CORE_ERR_HOOK')) return cause;
    return errors.CORE_ERR_TAP_FAILED({ plugin: tap.owner, cause, details: { hook: this.id, plugin: tap.owner } });
  }
}
