// The device's side of a virtqueue while it runs. Two phases, two types: VirtqueueSetup is what the front end has said,
// and createVirtqueue checks all of it once; a Virtqueue only works on requests, and never throws for what a guest does.

import { errors } from '../errors.ts';
import type { Chain } from './chain.ts';
import { QUEUE_SIZE_MAX } from './constants.ts';
import type { DirtyLog } from './dirty-log.ts';
import type { GuestMemory } from './guest-memory.ts';
import type { InflightQueue } from './inflight.ts';
import { PackedInflight } from './inflight-packed.ts';
import { SplitInflight } from './inflight-split.ts';
import { PackedQueue } from './packed-queue.ts';
import { SplitQueue } from './split-queue.ts';

export interface VirtqueueSetup {
  readonly index: number;
  /** Descriptors; a power of two for split rings. */
  readonly size: number;
  /** What the driver accepted of VIRTIO_F: eventIdx, ringPacked, inOrder, indirectDesc. */
  readonly features: {
    readonly eventIdx: boolean;
    readonly packed: boolean;
    readonly inOrder: boolean;
    readonly indirect: boolean;
  };
  readonly memory: GuestMemory;
  /** Guest-physical addresses: descriptor table, driver area (available ring), device area (used ring). */
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  /**
   * Where to go on, as VHOST_USER_SET_VRING_BASE has it. Split: index of the next available entry. Packed: slot of the
   * next available descriptor, bit 15 its wrap counter, bits 16 to 31 the same for the used one. With an inflight region
   * that was in use it does not count: the region and the ring know better.
   */
  readonly base: number;
  readonly inflight?: InflightQueue | undefined;
  /** Present while the front end wants to know which pages are written. */
  readonly log?: DirtyLog | undefined;
  /** eventfd that interrupts the driver; −1 when it polls. It stays the caller's. */
  readonly call: number;
  /** Segments of a chain at most; default 1024. */
  readonly maxChain?: number | undefined;
}

/** They only grow. */
export interface VirtqueueStats {
  popped: number;
  pushed: number;
  /** Chains that were not sound and were given back untouched. */
  refused: number;
  interrupts: number;
  /** Publications for which the driver wanted no interrupt. */
  suppressed: number;
}

export interface Virtqueue {
  readonly index: number;
  readonly size: number;
  readonly stats: Readonly<VirtqueueStats>;
  /** Why nothing more can be taken from the ring, until it is set up anew. */
  readonly broken: string | undefined;
  /** Why a chain was refused, the last time. */
  readonly refusal: string | undefined;
  /** Popped and not pushed. */
  readonly outstanding: number;
  /**
   * The next chain, valid until the next pop(); those that an earlier process left unfinished first. One that is not
   * sound is given back with 0 bytes and not returned, at most `size` of them in a call, so `undefined` may also mean:
   * that was enough for now. enableNotifications() tells.
   */
  pop(): Chain | undefined;
  /**
   * Gives a chain back with `written` bytes in its writable part. The driver sees it after flush().
   * @throws SDK_ERR_VIRTIO_PUSH when the chain is not outstanding, or has room for less: a mistake of the device
   */
  push(head: number, written: number): void;
  /** Shows the driver what was pushed and interrupts it if it wants that. True when it was interrupted. */
  flush(): boolean;
  /** Asks for a kick when more is made available. False when there is more already: go on popping. */
  enableNotifications(): boolean;
  /** Spares the driver its kicks while the device looks anyway. A hint. */
  disableNotifications(): void;
  /** As VHOST_USER_GET_VRING_BASE answers it. Outstanding chains count as taken. */
  base(): number;
  /**
   * The end: publishes what was pushed and returns `base()`. Nothing is popped or written to the ring afterwards; what was
   * outstanding stays so in the inflight region, and may still be pushed, to no effect.
   */
  stop(): number;
  /** −1: none. An interrupt that is owed is sent at once. */
  setCall(fd: number): void;
}

/** @throws SDK_ERR_VIRTIO_QUEUE when the size, an address or the base cannot be */
export function createVirtqueue(setup: VirtqueueSetup): Virtqueue {
  const { index, size, features, inflight, base } = setup;
  if (!Number.isInteger(size) || size < 1 || size > QUEUE_SIZE_MAX) throw refuse(index, `its size is ${size}`);
  if (!Number.isInteger(base) || base < 0 || base > 0xffff_ffff) throw refuse(index, `its base is ${base}`);
  if (inflight !== undefined && inflight.size < size)
    throw refuse(index, `the inflight region has ${inflight.size} entries for ${size} descriptors`);
  if (features.packed) {
    if (inflight instanceof SplitInflight) throw refuse(index, 'the inflight region is that of a split ring');
    return new PackedQueue(setup, inflight);
  }
  if (inflight instanceof PackedInflight) throw refuse(index, 'the inflight region is that of a packed ring');
  return new SplitQueue(setup, inflight);
}

const refuse = (index: number, why: string): Error => errors.SDK_ERR_VIRTIO_QUEUE({ details: { index, why } });
