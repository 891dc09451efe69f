// A queue's set-up as plain data, for another thread of this process: mappings stay with the thread that made them, and
// the other one looks at the same addresses.

import { borrowMapping, type Mapping } from '../../linux/mapping.ts';
import type { QueueStart } from '../backend-device.ts';
import { GuestMemory } from '../guest-memory.ts';
import { type InflightPlace, InflightRegion, inflightPlace } from '../inflight.ts';
import type { VirtqueueSetup } from '../virtqueue.ts';

export interface SharedRegion {
  readonly guestAddress: number;
  readonly size: number;
  readonly userAddress: number;
  readonly hostAddress: number;
}

export interface SharedQueue {
  readonly kick: number;
  readonly setup: Omit<VirtqueueSetup, 'memory' | 'inflight' | 'log'>;
  readonly regions: readonly SharedRegion[];
  readonly inflight: (InflightPlace & { readonly size: number }) | undefined;
}

/** `undefined` when only the thread that has it can serve it: while writes are logged for a migration. */
export function shareQueue({ setup, kick }: QueueStart): SharedQueue | undefined {
  const { memory, inflight, log, ...rest } = setup;
  if (log !== undefined) return undefined;
  const place = inflight === undefined ? undefined : inflightPlace(inflight);
  if (inflight !== undefined && place === undefined) return undefined;
  return {
    kick,
    setup: rest,
    regions: memory.regions.map(({ guestAddress, size, userAddress, hostAddress }) => ({
      guestAddress,
      size,
      userAddress,
      hostAddress,
    })),
    inflight: inflight === undefined || place === undefined ? undefined : { ...place, size: inflight.size },
  };
}

export interface AdoptedQueue extends Disposable {
  readonly start: QueueStart;
}

/** In the other thread. Disposing lets go of the memory, which must happen before its owner unmaps it. */
export function adoptQueue({ setup, kick, regions, inflight }: SharedQueue): AdoptedQueue {
  const borrowed: Mapping[] = [];
  const borrow = (address: number, length: number): Mapping => {
    const mapping = borrowMapping(address, length);
    borrowed.push(mapping);
    return mapping;
  };
  const memory = GuestMemory.create(
    regions.map(({ hostAddress, ...region }) => ({
      ...region,
      mapping: borrow(hostAddress, region.size),
      mappingOffset: 0,
    })),
  );
  const part =
    inflight === undefined
      ? {}
      : {
          inflight: InflightRegion.queue(
            borrow(inflight.address, inflight.bytes),
            0,
            0,
            inflight.size,
            setup.features.packed,
          ),
        };
  return {
    start: { setup: { ...setup, memory, ...part }, kick },
    [Symbol.dispose]: () => {
      for (const mapping of borrowed) mapping[Symbol.dispose]();
    },
  };
}
