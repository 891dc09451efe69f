// Time that stands still until a test moves it.

import type { Clock } from '@runtime/core';

/** More than this in one go means timers that start each other without end. */
const MAX_TIMERS = 100_000;

interface Timer {
  readonly due: number;
  readonly fn: () => void;
}

/**
 * ```ts
 * const clock = new FakeClock();
 * clock.after(100, () => console.log('late'));
 * clock.advance(99);  // nothing
 * clock.advance(1);   // late
 * ```
 * Only what asks the clock of the runtime (`ctx.clock`, deadlines, restart delays) follows it; setTimeout does not.
 */
export class FakeClock implements Clock {
  #now: number;
  /** In the order of their registration, which decides among those due at the same time. */
  readonly #timers: Set<Timer> = new Set();

  /** @param startMs what now() gives at first */
  constructor(startMs: number = 0) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

  after(ms: number, fn: () => void): Disposable {
    const timer: Timer = { due: this.#now + Math.max(0, ms), fn };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Milliseconds until the next timer; `undefined` when none waits. */
  get nextMs(): number | undefined {
    const next = this.#next(Number.POSITIVE_INFINITY);
    return next === undefined ? undefined : next.due - this.#now;
  }

  /** Moves the time on and runs what comes due, in order, each at its own time; also what that starts. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (let ran = 0; this.#runNext(end); ran++) checkEndless(ran);
    this.#now = end;
  }

  /** Likewise, and lets promises settle before it begins, after each timer and at the end. */
  async advanceAsync(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (let ran = 0; this.#runNext(end); ran++) {
      checkEndless(ran);
      await settle();
    }
    this.#now = end;
    await settle();
  }

  #runNext(end: number): boolean {
    const timer = this.#next(end);
    if (timer === undefined) return false;
    this.#timers.delete(timer);
    this.#now = timer.due;
    timer.fn();
    return true;
  }

  #next(end: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.due <= end && (next === undefined || timer.due < next.due)) next = timer;
    }
    return next;
  }
}

/** One turn of the event loop: every promise that can settle without new input has. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function checkEndless(ran: number): void {
  if (ran < MAX_TIMERS) return;
  throw new Error(`${MAX_TIMERS} timers ran in one advance(): they start each other without time passing`);
}
