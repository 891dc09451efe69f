// What `runtime vm stats` shows of a network device. Only grows. rx is towards the guest.

import type { DeviceStats } from '@runtime/sdk/virtio';

export interface NetStats extends DeviceStats {
  rxFrames: number;
  rxBytes: number;
  /** Not for this guest, or while its link was down. */
  rxFiltered: number;
  /** Too short or too long to be a frame, or for the buffers of the guest. */
  rxMalformed: number;
  /** How often a frame had to wait for buffers of the guest. */
  rxStarved: number;
  txFrames: number;
  txBytes: number;
  txMalformed: number;
  /** Frames that the host did not take, and those of a link that is down. */
  txDropped: number;
  /** How often the guest had to wait for the host. */
  txFull: number;
  commands: number;
  commandsRefused: number;
  /** Connections to passt that were lost. */
  lost: number;
}

const NONE: NetStats = {
  rxFrames: 0,
  rxBytes: 0,
  rxFiltered: 0,
  rxMalformed: 0,
  rxStarved: 0,
  txFrames: 0,
  txBytes: 0,
  txMalformed: 0,
  txDropped: 0,
  txFull: 0,
  commands: 0,
  commandsRefused: 0,
  lost: 0,
};

/** Goes on counting in `stats` where older code of the device stopped. */
export function countIn(stats: DeviceStats): NetStats {
  return Object.assign(stats, { ...NONE, ...stats });
}
