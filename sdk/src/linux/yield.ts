// Letting others run, sched_yield(2).

import { declareHot } from './call.ts';

// ABI: int sched_yield(void); sched_yield(2). Always succeeds on Linux.
let schedYield = declareHot<[]>('int sched_yield()', (linked) => {
  schedYield = linked;
});

/** Whoever waits for this CPU runs first; nobody does: returns at once, after some 0.3 µs. */
export function yieldCpu(): void {
  schedYield();
}
