// Which driver for which ring.

import type { DriverOptions, DriverQueue } from './driver.ts';
import { PackedDriver } from './driver-packed.ts';
import { SplitDriver } from './driver-split.ts';
import type { GuestRam } from './guest-ram.ts';

/** A ring in `ram`, and the driver's side of it. Dispose of it for its eventfds. */
export function createDriverQueue(ram: GuestRam, options: DriverOptions = {}): DriverQueue {
  return options.packed === true ? new PackedDriver(ram, options) : new SplitDriver(ram, options);
}
