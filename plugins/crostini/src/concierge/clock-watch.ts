// Notices that the time of this computer has jumped: it was suspended, or somebody set its clock.

import type { Clock } from '@runtime/sdk';
import { systemClock } from '@runtime/sdk';

export interface ClockWatchOptions {
  /** Told once for each jump. */
  readonly onJump: (ms: number) => void;
  /** Monotonic, and standing still while the computer is suspended: CLOCK_MONOTONIC. */
  readonly clock?: Clock;
  /** Milliseconds since 1970. */
  readonly realtime?: () => number;
}

const EVERY_MS = 5_000;
/** Less than this, guests do not mind; a clock that is set right little by little gets there, too. */
const JUMP_MS = 1_000;

export function watchClock({ onJump, clock = systemClock, realtime = Date.now }: ClockWatchOptions): Disposable {
  const difference = (): number => realtime() - clock.now();
  let before = difference();
  let timer: Disposable;
  const look = (): void => {
    const now = difference();
    const jump = now - before;
    if (Math.abs(jump) >= JUMP_MS) {
      before = now;
      onJump(Math.round(jump));
    }
    timer = clock.after(EVERY_MS, look);
  };
  timer = clock.after(EVERY_MS, look);
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}
