// What `runtime vm stats` shows of a block device. Only grows, `inFlightMax` too.

import type { DeviceStats } from '@runtime/sdk/virtio';

export interface BlockStats extends DeviceStats {
  reads: number;
  writes: number;
  bytesRead: number;
  bytesWritten: number;
  flushes: number;
  discards: number;
  writeZeroes: number;
  /** Requests that the image could not carry out. */
  errors: number;
  /** Requests that were none, or of a kind that is not offered. */
  refused: number;
  inFlightMax: number;
}

const NONE: BlockStats = {
  reads: 0,
  writes: 0,
  bytesRead: 0,
  bytesWritten: 0,
  flushes: 0,
  discards: 0,
  writeZeroes: 0,
  errors: 0,
  refused: 0,
  inFlightMax: 0,
};

/** Goes on counting in `stats` where older code of the device stopped. */
export function countIn(stats: DeviceStats): BlockStats {
  return Object.assign(stats, { ...NONE, ...stats });
}
