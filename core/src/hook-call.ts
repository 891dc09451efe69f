// One call of an asynchronous hook: which taps were asked and have not answered, since when, and whose gate they are in.

import { errors } from './core-errors.ts';
import { type Deadlines, Watched } from './deadlines.ts';
import { isRuntimeError } from './errors.ts';
import type { Gate } from './gate.ts';
import type { Orderable } from './tap-order.ts';
import type { HookKind } from './tokens.ts';

export type AnyFunction = (...args: readonly unknown[]) => unknown;

export interface Tap extends Orderable {
  readonly hook: string;
  readonly kind: HookKind;
  readonly gate: Gate;
  readonly fn: AnyFunction;
  readonly timeoutMs: number;
  /** Position among the taps of the same plugin on the same hook: what its successor after a reload is found by. */
  readonly index: number;
  isLive: boolean;
  /**
   * Its plugin is being reloaded and has not tapped again yet; calls wait for its successor, so that a swap of, say, the
   * sandbox never lets a process start without its jail. A tap that is neither live nor an orphan is skipped.
   */
  isOrphan: boolean;
  successor: Tap | undefined;
  /** What tapable executes for it; made when it is first needed. */
  step: AnyFunction | undefined;
}

/** Its plugin may have been reloaded since the call began. */
function latest(tap: Tap): Tap {
  let at = tap;
  while (at.successor !== undefined) at = at.successor;
  return at;
}

export function failure(tap: Tap, cause: unknown): unknown {
  if (isRuntimeError(cause) && cause.plugin === tap.owner && cause.code.startsWith('CORE_ERR_HOOK')) return cause;
  return errors.CORE_ERR_TAP_FAILED({ plugin: tap.owner, cause, details: { hook: tap.hook, plugin: tap.owner } });
}

export function nullAnswer(tap: Tap): Error {
  return errors.CORE_ERR_HOOK_NULL({ plugin: tap.owner, details: { hook: tap.hook, plugin: tap.owner } });
}

function late(tap: Tap, ms: number): Error {
  return errors.CORE_ERR_TAP_TIMEOUT({ plugin: tap.owner, details: { hook: tap.hook, plugin: tap.owner, ms } });
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}

export interface CallOptions {
  readonly hook: string;
  readonly deadlines: Deadlines;
  /** How long it waits for a plugin that is being reloaded, in ms. */
  readonly swapMs: number;
}

type Resolve = (value: unknown) => void;
type Reject = (error: unknown) => void;

/** Of a series, bail or waterfall hook: one tap at a time. */
export class SeriesCall extends Watched {
  /** The plugin that calls. */
  readonly caller: string;
  /** Settled. A tap that answers later is not heard, and those after it are not asked. */
  isOver = false;
  readonly #options: CallOptions;
  readonly #resolve: Resolve;
  readonly #reject: Reject;
  /** Who is asked now. */
  #tap: Tap | undefined;
  /** How many were asked so far: another number is another tap. */
  #asked = 0;
  #seen = -1;
  #seenAt = 0;

  constructor(caller: string, options: CallOptions, resolve: Resolve, reject: Reject) {
    super();
    this.caller = caller;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    options.deadlines.add(this);
  }

  /** The tap before has answered, and this one is asked. */
  begin(tap: Tap | undefined): void {
    this.#tap?.gate.leave();
    this.#tap = tap;
    this.#asked += 1;
    tap?.gate.enter();
  }

  /** Asks a tap of which nothing is known, not even that it is still there. */
  ask(known: Tap, args: readonly unknown[]): Promise<unknown> {
    // Heard by nobody; it only ends what tapable waits for.
    if (this.isOver) return Promise.reject(new Error('the call is over'));
    const tap = latest(known);
    if (!tap.isLive && !tap.isOrphan) return Promise.resolve();
    if (!tap.gate.admits(this.caller)) {
      this.begin(undefined);
      const { swapMs } = this.#options;
      return tap.gate.pass(
        swapMs,
        () => this.ask(tap, args),
        () => late(tap, swapMs),
      );
    }
    // The plugin's own call while it has not tapped again.
    if (tap.isOrphan) return Promise.resolve();
    this.begin(tap);
    try {
      return Promise.resolve(tap.fn(...args));
    } catch (cause) {
      return Promise.reject(cause);
    }
  }

  /** For tapable; a tap's failure, if it is one, is that of the tap asked last. */
  readonly done = (error?: unknown, result?: unknown): void => {
    if (this.isOver) return;
    const tap = this.#tap;
    this.#end();
    if (error) this.#reject(tap === undefined ? error : failure(tap, error));
    else if (result === null && tap?.kind === 'bail') this.#reject(nullAnswer(tap));
    else this.#resolve(result);
  };

  look(now: number): void {
    const tap = this.#tap;
    if (this.#seen !== this.#asked) {
      this.#seen = this.#asked;
      this.#seenAt = now;
    } else if (tap !== undefined && now - this.#seenAt >= tap.timeoutMs) {
      this.#end();
      this.#reject(late(tap, tap.timeoutMs));
    }
  }

  #end(): void {
    this.isOver = true;
    this.#options.deadlines.delete(this);
    this.begin(undefined);
  }
}

interface Asked {
  readonly tap: Tap;
  isOpen: boolean;
  /** At which look it was first seen. */
  seenAt: number | undefined;
}

/** Of a parallel hook: all taps at once, and all to their end. */
export class ParallelCall extends Watched {
  /** The plugin that calls. */
  readonly caller: string;
  readonly #options: CallOptions;
  readonly #resolve: Resolve;
  readonly #reject: Reject;
  readonly #asked: Asked[] = [];
  readonly #failures: unknown[] = [];
  /** Taps that have not answered, and the asking itself. */
  #left = 1;

  constructor(caller: string, options: CallOptions, resolve: Resolve, reject: Reject) {
    super();
    this.caller = caller;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    options.deadlines.add(this);
  }

  /** What a tap answered; only a promise says that it is not done yet. */
  take(tap: Tap, answer: unknown): void {
    if (answer === undefined) return;
    // A thenable may throw or answer twice; a promise made of it does neither.
    const promise = answer instanceof Promise ? answer : isThenable(answer) ? Promise.resolve(answer) : undefined;
    if (promise === undefined) return;
    const asked: Asked = { tap, isOpen: true, seenAt: undefined };
    this.#asked.push(asked);
    this.#left += 1;
    tap.gate.enter();
    promise.then(
      () => {
        if (asked.isOpen) this.#settle(asked);
      },
      (cause: unknown) => {
        if (asked.isOpen) this.#settle(asked, failure(tap, cause));
      },
    );
  }

  fail(error: unknown): void {
    this.#failures.push(error);
  }

  /** Asks a tap of which nothing is known, not even that it is still there. */
  ask(known: Tap, args: readonly unknown[]): void {
    const tap = latest(known);
    if (!tap.isLive && !tap.isOrphan) return;
    if (!tap.gate.admits(this.caller)) return this.#askLater(tap, args);
    // The plugin's own call while it has not tapped again.
    if (tap.isOrphan) return;
    try {
      this.take(tap, tap.fn(...args));
    } catch (cause) {
      this.fail(failure(tap, cause));
    }
  }

  /** Called once when all were asked, and once for each that answered. */
  readonly done = (): void => {
    this.#left -= 1;
    if (this.#left > 0) return;
    this.#options.deadlines.delete(this);
    const failures = this.#failures;
    if (failures.length === 0) this.#resolve(undefined);
    else if (failures.length === 1) this.#reject(failures[0]);
    else this.#reject(new AggregateError(failures, `${failures.length} taps of ${this.#options.hook} failed`));
  };

  look(now: number): void {
    for (const asked of this.#asked) {
      const { tap, isOpen, seenAt } = asked;
      if (!isOpen) continue;
      if (seenAt === undefined) asked.seenAt = now;
      else if (now - seenAt >= tap.timeoutMs) this.#settle(asked, late(tap, tap.timeoutMs));
    }
  }

  #askLater(tap: Tap, args: readonly unknown[]): void {
    const { swapMs } = this.#options;
    this.#left += 1;
    const passed = tap.gate.pass(
      swapMs,
      () => this.ask(tap, args),
      () => late(tap, swapMs),
    );
    passed.catch((error: unknown) => this.fail(error)).then(this.done);
  }

  #settle(asked: Asked, error?: unknown): void {
    asked.isOpen = false;
    asked.tap.gate.leave();
    if (error !== undefined) this.fail(error);
    this.done();
  }
}
