// Which engine carries out the I/O of a device.

import { IoUring } from '../linux/io-uring.ts';
import type { IoEngine } from './device-io.ts';
import { SyncIo } from './device-io-sync.ts';
import { UringIo } from './device-io-uring.ts';

/** Submission entries; the completion ring is four times as large (IORING_SETUP_CQSIZE). */
const RING_ENTRIES = 256;
/** Operations in flight: leaves room in the completion ring for the polls that wake a wait. */
const CAPACITY = 896;

/** @param wanted leave it out: the best that the kernel offers */
export function createIoEngine(wanted?: IoEngine['kind']): IoEngine {
  const ring = wanted === 'sync' ? undefined : IoUring.create(RING_ENTRIES);
  return ring === undefined ? new SyncIo(CAPACITY) : new UringIo(ring, CAPACITY);
}
