// The rings of a device as a front end sets them up: number by number, then a kick that starts them. "Ring states" of the
// specification. A ring runs when it was started (a kick descriptor came) and enabled; then the device has its queue.

import { errors } from '../../errors.ts';
import { drainEventfd, eventfd, signalEventfd } from '../../linux/eventfd.ts';
import { type Watch, watch } from '../../linux/watch.ts';
import type { BackendDevice } from '../backend-device.ts';
import { VIRTIO_F } from '../constants.ts';
import type { DirtyLog } from '../dirty-log.ts';
import type { GuestMemory } from '../guest-memory.ts';
import type { InflightQueue } from '../inflight.ts';
import type { VirtqueueSetup } from '../virtqueue.ts';
import { closeFds } from './frames.ts';
import type { VringAddress } from './payloads.ts';

/** What a ring needs of the session that it is part of. */
export interface VringHost {
  readonly device: BackendDevice;
  readonly memory: GuestMemory;
  readonly features: bigint;
  /** Kicks and calls are messages unless descriptors were given. */
  readonly inband: boolean;
  inflight(index: number): InflightQueue | undefined;
  dirtyLog(): DirtyLog | undefined;
  /** An interrupt of a ring without call descriptor, while `inband`. */
  call(index: number): void;
  /** A ring stopped working, and why. */
  broken(index: number, why: string): void;
  /** The first ring runs, or the last one has stopped. */
  activity(running: boolean): void;
}

export interface Vring {
  readonly index: number;
  num: number;
  base: number;
  address: VringAddress | undefined;
  kick: number;
  call: number;
  err: number;
  started: boolean;
  enabled: boolean;
  running: boolean;
  /** Why it cannot run until it is set up anew. */
  broken: string | undefined;
  /** What the last GET_VRING_BASE said. */
  answeredBase: number | undefined;
  /** Of our own, while kicks and calls are messages. */
  inband: { readonly kick: number; readonly call: number; readonly watch: Watch } | undefined;
}

const bit = (features: bigint, number: number): boolean => ((features >> BigInt(number)) & 1n) === 1n;

export class Vrings {
  readonly #host: VringHost;
  readonly #rings: readonly Vring[];
  #running = 0;

  constructor(host: VringHost) {
    this.#host = host;
    this.#rings = Array.from({ length: host.device.queueCount }, (_, index) => ({
      index,
      num: 0,
      base: 0,
      address: undefined,
      kick: -1,
      call: -1,
      err: -1,
      started: false,
      enabled: false,
      running: false,
      broken: undefined,
      answeredBase: undefined,
      inband: undefined,
    }));
  }

  get all(): readonly Vring[] {
    return this.#rings;
  }

  get running(): number {
    return this.#running;
  }

  /** @throws SDK_ERR_VHOST_USER_REFUSED */
  get(request: string, index: number): Vring {
    const ring = this.#rings[index];
    if (ring === undefined) {
      const why = `there is no queue ${index}, of ${this.#rings.length}`;
      throw errors.SDK_ERR_VHOST_USER_REFUSED({ details: { request, why } });
    }
    return ring;
  }

  /** Starts or stops it, as its state asks for. @throws SDK_ERR_VHOST_USER_REFUSED when it cannot run like this */
  async settle(request: string, ring: Vring): Promise<void> {
    const wanted = ring.started && ring.enabled;
    if (ring.running && !wanted) await this.stop(ring);
    else if (wanted && !ring.running && ring.broken === undefined) this.#start(request, ring);
  }

  async stop(ring: Vring): Promise<void> {
    if (!ring.running) return;
    ring.base = await this.#host.device.stopQueue(ring.index);
    ring.running = false;
    this.#running -= 1;
    if (this.#running === 0) this.#host.activity(false);
  }

  async stopAll(): Promise<void> {
    for (const ring of this.#rings) await this.stop(ring);
  }

  /**
   * Stops what runs, makes the change, and starts what should run: for what rings cannot be told while they run. A ring
   * that cannot run afterwards stays stopped, and is told as broken unless it was not set up yet; the change stands.
   * When this throws, the device did not stop, and there was no change.
   */
  async around(request: string, change: () => void, only?: Vring): Promise<void> {
    const rings = only === undefined ? this.#rings : [only];
    for (const ring of rings) await this.stop(ring);
    change();
    for (const ring of rings) await this.settle(request, ring).catch(() => {});
  }

  /** Takes the descriptor; the one before it is closed. */
  setCall(ring: Vring, fd: number): void {
    const before = ring.call;
    ring.call = fd;
    if (ring.running) {
      this.#host.device.setCall(ring.index, this.#callOf(ring));
      // An interrupt may have gone to the old one, which nobody looks at any more.
      if (fd >= 0) signalEventfd(fd);
    }
    closeFds([before]);
  }

  setErr(ring: Vring, fd: number): void {
    closeFds([ring.err]);
    ring.err = fd;
  }

  /** A kick that came as a message. It starts the ring. @throws SDK_ERR_VHOST_USER_REFUSED */
  async kicked(request: string, ring: Vring): Promise<void> {
    if (!ring.started) {
      ring.started = true;
      ring.broken = undefined;
    }
    await this.settle(request, ring);
    const fd = ring.kick >= 0 ? ring.kick : ring.inband?.kick;
    if (ring.running && fd !== undefined) signalEventfd(fd);
  }

  /** Tells the front end that the ring is of no use any more. */
  tellBroken(ring: Vring, why: string): void {
    ring.broken = why;
    if (ring.err >= 0) signalEventfd(ring.err);
    this.#host.broken(ring.index, why);
  }

  /** Closes every descriptor. Nothing runs any more. */
  close(): void {
    for (const ring of this.#rings) {
      closeFds([ring.kick, ring.call, ring.err]);
      ring.kick = ring.call = ring.err = -1;
      closeInband(ring);
    }
  }

  #start(request: string, ring: Vring): void {
    const { address, num } = ring;
    if (address === undefined || num === 0) {
      throw this.#refuse(request, `queue ${ring.index} has no ${address === undefined ? 'addresses' : 'size'} yet`);
    }
    if (ring.kick < 0 && this.#host.inband && ring.inband === undefined) this.#openInband(ring);
    const kick = ring.kick >= 0 ? ring.kick : (ring.inband?.kick ?? -1);
    try {
      this.#host.device.startQueue({ setup: this.#setup(ring, address), kick });
    } catch (e) {
      const why = e instanceof Error ? e.message : String(e);
      this.tellBroken(ring, why);
      throw this.#refuse(request, `queue ${ring.index} cannot start: ${why}`);
    }
    ring.running = true;
    this.#running += 1;
    if (this.#running === 1) this.#host.activity(true);
    // What an earlier back end published just before it ended may never have been told.
    if (ring.call >= 0) signalEventfd(ring.call);
  }

  #setup(ring: Vring, address: VringAddress): VirtqueueSetup {
    const { memory, features } = this.#host;
    const packed = bit(features, VIRTIO_F.ringPacked);
    const inflight = this.#host.inflight(ring.index);
    const log = this.#host.dirtyLog();
    return {
      index: ring.index,
      size: ring.num,
      features: {
        eventIdx: bit(features, VIRTIO_F.eventIdx),
        indirect: bit(features, VIRTIO_F.indirectDesc),
        inOrder: bit(features, VIRTIO_F.inOrder),
        packed,
      },
      memory,
      desc: guestAddress(memory, 'descriptor table', address.descriptor),
      driver: guestAddress(memory, 'available ring', address.available),
      device: guestAddress(memory, 'used ring', address.used),
      base: ring.base,
      call: this.#callOf(ring),
      ...(inflight === undefined ? {} : { inflight }),
      ...(log === undefined ? {} : { log }),
    };
  }

  #callOf(ring: Vring): number {
    return ring.call >= 0 ? ring.call : (ring.inband?.call ?? -1);
  }

  #openInband(ring: Vring): void {
    const call = eventfd();
    const watching = watch(call, { readable: true }, () => {
      if (drainEventfd(call)) this.#host.call(ring.index);
    });
    ring.inband = { kick: eventfd(), call, watch: watching };
  }

  #refuse(request: string, why: string): Error {
    return errors.SDK_ERR_VHOST_USER_REFUSED({ details: { request, why } });
  }
}

function closeInband(ring: Vring): void {
  if (ring.inband === undefined) return;
  ring.inband.watch[Symbol.dispose]();
  closeFds([ring.inband.kick, ring.inband.call]);
  ring.inband = undefined;
}

/** Rings are named by addresses of the front end; queues are by those of the guest. */
function guestAddress(memory: GuestMemory, what: string, userAddress: number): number {
  const region = memory.findUser(userAddress, 1);
  if (region === undefined)
    throw new RangeError(`its ${what} at 0x${userAddress.toString(16)} is not in shared memory`);
  return region.guestAddress + (userAddress - region.userAddress);
}
