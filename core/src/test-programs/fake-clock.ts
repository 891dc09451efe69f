// Time that stands still until a test moves it.

import type { Clock } from '../clock.ts';

export interface FakeClock extends Clock {
  /** Moves on by `ms` and runs what falls due on the way, in order of time. */
  advance(ms: number): void;
  /** Timers that have neither run nor been disposed. */
  readonly pending: number;
}

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

export function fakeClock(): FakeClock {
  const timers = new Set<Timer>();
  let now = 0;
  const nextDue = (until: number): Timer | undefined => {
    const due = [...timers].filter(({ at }) => at <= until);
    return due.sort((a, b) => a.at - b.at)[0];
  };
  return {
    now: () => now,
    after(ms, run) {
      const timer: Timer = { at: now + ms, run };
      timers.add(timer);
      return { [Symbol.dispose]: () => void timers.delete(timer) };
    },
    advance(ms) {
      const until = now + ms;
      for (let timer = nextDue(until); timer !== undefined; timer = nextDue(until)) {
        timers.delete(timer);
        now = timer.at;
        timer.run();
      }
      now = until;
    },
    get pending() {
      return timers.size;
    },
  };
}

/** Lets everything run that is ready to: all promise callbacks that wait for no timer. */
export function flush(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
