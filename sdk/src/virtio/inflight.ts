// Which chains were taken from a ring and not given back, in memory that outlives the process: a new one finishes them.
// vhost-user "Inflight I/O tracking". The region is made here and kept by the front end, which hands it to the next back
// end; so what is read from it is checked as well. The order of the stores matters, since the process can be killed
// between any two; another process that reads them later sees all that were done, so no barriers are needed.

import { errors } from '../errors.ts';
import type { Mapping } from '../linux/mapping.ts';
import { PackedInflight } from './inflight-packed.ts';
import { SplitInflight } from './inflight-split.ts';

export type InflightQueue = SplitInflight | PackedInflight;

/** Header of QueueRegionSplit, and each DescStateSplit. */
const SPLIT_HEADER = 16;
const SPLIT_ENTRY = 16;
/** Header of QueueRegionPacked with its padding, and each DescStatePacked. */
const PACKED_HEADER = 32;
const PACKED_ENTRY = 32;
/** Queues do not share cache lines. */
const ALIGN = 64;

/** Where the part of a queue is in the memory of this process, for another thread that is to serve the queue. */
export interface InflightPlace {
  readonly address: number;
  readonly bytes: number;
}

const places: WeakMap<InflightQueue, InflightPlace> = new WeakMap();

export function inflightPlace(queue: InflightQueue): InflightPlace | undefined {
  return places.get(queue);
}

export const InflightRegion = {
  /** Bytes of one queue. */
  queueBytes(queueSize: number, packed: boolean): number {
    const bytes = packed ? PACKED_HEADER + PACKED_ENTRY * queueSize : SPLIT_HEADER + SPLIT_ENTRY * queueSize;
    return Math.ceil(bytes / ALIGN) * ALIGN;
  },

  /** Bytes of the region: what VHOST_USER_GET_INFLIGHT_FD answers as mmap size. */
  size(queues: number, queueSize: number, packed: boolean): number {
    return queues * InflightRegion.queueBytes(queueSize, packed);
  },

  /**
   * The part of queue `index`. `offset`: of the region in the mapping.
   * @throws SDK_ERR_VIRTIO_INFLIGHT when the mapping is too small for it
   */
  queue(mapping: Mapping, offset: number, index: number, queueSize: number, packed: boolean): InflightQueue {
    const bytes = InflightRegion.queueBytes(queueSize, packed);
    const at = offset + index * bytes;
    if (offset % 8 !== 0 || at + bytes > mapping.length) {
      throw errors.SDK_ERR_VIRTIO_INFLIGHT({
        details: { why: `queue ${index} at ${at} needs ${bytes} bytes, of ${mapping.length} there` },
      });
    }
    const queue = packed
      ? new PackedInflight(mapping.buffer, at, queueSize)
      : new SplitInflight(mapping.buffer, at, queueSize);
    places.set(queue, { address: mapping.address + at, bytes });
    return queue;
  },
} as const;
