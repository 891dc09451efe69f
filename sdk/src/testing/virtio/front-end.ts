// A whole front end: plays a VMM with a guest in it, for back ends in this process or another one.

import { closeSync } from 'node:fs';
import { errors } from '../../errors.ts';
import { drainEventfd, eventfd } from '../../linux/eventfd.ts';
import { onReadable, pollOne } from '../../linux/poll.ts';
import { VIRTIO_F } from '../../virtio/constants.ts';
import { closeFds } from '../../virtio/vhost-user/frames.ts';
import {
  featureBits,
  MAX_TABLE_REGIONS,
  ProtocolFeature,
  type ProtocolFeatureName,
  VhostFeature,
} from '../../virtio/vhost-user/messages.ts';
import type { InflightDescription } from '../../virtio/vhost-user/payloads.ts';
import type { Completion, DriverOptions, DriverQueue } from './driver.ts';
import { createDriverQueue } from './driver-queue.ts';
import { type BackendAsked, FrontEndLink } from './front-end-link.ts';
import { createGuestRam, type GuestRam, type GuestRamRegion } from './guest-ram.ts';

const bit = (number: number): bigint => 1n << BigInt(number);
const RING_FEATURES =
  bit(VIRTIO_F.indirectDesc) | bit(VIRTIO_F.eventIdx) | bit(VIRTIO_F.ringPacked) | bit(VIRTIO_F.inOrder);

/** Accepted when they are offered, unless the options say otherwise: what QEMU uses. */
const WANTED: readonly ProtocolFeatureName[] = [
  'mq',
  'replyAck',
  'backendReq',
  'backendSendFd',
  'config',
  'inflightShmfd',
  'resetDevice',
  'configureMemSlots',
  'deviceState',
  'logShmfd',
  'shmem',
];

export interface FrontEndOptions {
  /** The guest's memory: bytes, regions, or one made before (which stays the caller's); default 16 MiB. */
  readonly memory?: number | readonly GuestRamRegion[] | GuestRam;
  /** Its queues; default one of 64. All of them use the same kind of ring. */
  readonly queues?: readonly DriverOptions[];
  /** Device features to accept when they are offered, ring features aside; default all. */
  readonly features?: bigint;
  /** Protocol features to accept when they are offered. */
  readonly protocolFeatures?: readonly ProtocolFeatureName[];
  /** For an answer, default 5,000. */
  readonly timeoutMs?: number;
}

interface Inflight {
  readonly fd: number;
  readonly description: InflightDescription;
}

export class VhostUserFrontEnd implements Disposable {
  readonly ram: GuestRam;
  readonly queues: readonly DriverQueue[];
  /** What the back end has asked for on its channel. */
  readonly asked: BackendAsked[] = [];
  /** Answers for it, 0 is yes. Descriptors are its to close. */
  onAsked: (asked: BackendAsked) => bigint = ({ fds }) => {
    closeFds(fds);
    return 0n;
  };
  /** What the back end offers, and what was accepted. */
  offered = 0n;
  features = 0n;
  protocol = 0n;
  readonly #options: FrontEndOptions;
  readonly #ownRam: boolean;
  readonly #errors: readonly number[];
  readonly #bases: number[];
  #link: FrontEndLink | undefined;
  #inflight: Inflight | undefined;
  #closed = false;

  constructor(options: FrontEndOptions = {}) {
    const { memory = 16 * 2 ** 20, queues = [{}] } = options;
    this.#options = options;
    this.#ownRam = typeof memory === 'number' || Array.isArray(memory);
    this.ram = this.#ownRam ? createGuestRam(memory as number | readonly GuestRamRegion[]) : (memory as GuestRam);
    this.queues = queues.map((queue) => createDriverQueue(this.ram, queue));
    this.#errors = queues.map(() => eventfd());
    this.#bases = this.queues.map((queue) => queue.setup().base);
  }

  /** Takes the connected socket and starts all queues. @throws SDK_ERR_VHOST_USER_REFUSED, SDK_ERR_VHOST_USER_CLOSED */
  static async connect(fd: number, options: FrontEndOptions = {}): Promise<VhostUserFrontEnd> {
    const frontEnd = new VhostUserFrontEnd(options);
    try {
      await frontEnd.negotiate(fd);
      await frontEnd.start();
      return frontEnd;
    } catch (e) {
      frontEnd[Symbol.dispose]();
      throw e;
    }
  }

  /** For single messages. @throws SDK_ERR_VHOST_USER_CLOSED */
  get link(): FrontEndLink {
    if (this.#link !== undefined) return this.#link;
    throw errors.SDK_ERR_VHOST_USER_CLOSED({ details: { what: 'the front end', why: 'it has not been connected' } });
  }

  has(feature: ProtocolFeatureName): boolean {
    return ((this.protocol >> BigInt(ProtocolFeature[feature])) & 1n) === 1n;
  }

  /** The beginning of a connection, when a VMM sets up the device. The socket is owned from here on. */
  async negotiate(fd: number): Promise<void> {
    this.#link?.close();
    const { timeoutMs, protocolFeatures = WANTED } = this.#options;
    const link = new FrontEndLink(fd, timeoutMs === undefined ? {} : { timeoutMs });
    this.#link = link;
    link.onAsked = (asked) => {
      this.asked.push(asked);
      return this.onAsked(asked);
    };
    this.offered = (await link.request('GET_FEATURES', undefined)).value;
    if ((this.offered & bit(VhostFeature.protocolFeatures)) !== 0n) {
      const { value } = await link.request('GET_PROTOCOL_FEATURES', undefined);
      this.protocol = value & featureBits(protocolFeatures);
      await link.request('SET_PROTOCOL_FEATURES', this.protocol);
      link.acknowledged = this.has('replyAck');
    }
    await link.request('SET_OWNER', undefined);
    if (this.has('mq')) {
      const { value } = await link.request('GET_QUEUE_NUM', undefined);
      if (Number(value) < this.queues.length) {
        throw errors.SDK_ERR_VHOST_USER_REFUSED({ details: { request: 'GET_QUEUE_NUM', why: `there are ${value}` } });
      }
    }
    if (this.has('backendReq')) await link.openChannel();
  }

  /** What a VMM does when the driver is ready. */
  async start(): Promise<void> {
    const { link } = this;
    const ring = this.queues[0]?.features;
    const wanted = (this.#options.features ?? ~0n) & ~RING_FEATURES;
    let features = this.offered & (wanted | bit(VhostFeature.protocolFeatures)) & ~bit(VhostFeature.logAll);
    if (ring?.indirect) features |= bit(VIRTIO_F.indirectDesc);
    if (ring?.eventIdx) features |= bit(VIRTIO_F.eventIdx);
    if (ring?.packed) features |= bit(VIRTIO_F.ringPacked);
    if (ring?.inOrder) features |= bit(VIRTIO_F.inOrder);
    this.features = features;
    await link.request('SET_FEATURES', features);
    await this.shareMemory();
    if (this.has('inflightShmfd')) await this.#shareInflight();
    for (const index of this.queues.keys()) await this.startQueue(index);
  }

  async shareMemory(): Promise<void> {
    const { link } = this;
    const regions = this.ram.files.map(({ guestAddress, size, userAddress, offset }) => {
      return { guestAddress, size, userAddress, mmapOffset: offset };
    });
    const fds = this.ram.files.map(({ fd }) => fd);
    if (!this.has('configureMemSlots') || regions.length <= MAX_TABLE_REGIONS) {
      await link.request('SET_MEM_TABLE', regions, { fds });
      return;
    }
    for (const [i, region] of regions.entries()) await link.request('ADD_MEM_REG', region, { fds: [fds[i] as number] });
  }

  async startQueue(index: number): Promise<void> {
    const { link } = this;
    const queue = this.queue(index);
    await link.request('SET_VRING_NUM', { index, num: queue.size });
    await link.request('SET_VRING_BASE', { index, num: this.#bases[index] as number });
    const address = { index, flags: 0, log: queue.device };
    const user = {
      descriptor: this.#user(queue.desc),
      available: this.#user(queue.driver),
      used: this.#user(queue.device),
    };
    await link.request('SET_VRING_ADDR', { ...address, ...user });
    await link.request('SET_VRING_CALL', BigInt(index), { fds: [queue.callFd] });
    await link.request('SET_VRING_ERR', BigInt(index), { fds: [this.#errors[index] as number] });
    await link.request('SET_VRING_KICK', BigInt(index), { fds: [queue.kickFd] });
    if ((this.features & bit(VhostFeature.protocolFeatures)) !== 0n) {
      await link.request('SET_VRING_ENABLE', { index, num: 1 });
    }
  }

  /** Stops all queues, as for a pause; start() goes on where they were. */
  async stop(): Promise<void> {
    for (const index of this.queues.keys()) {
      const { value } = await this.link.request('GET_VRING_BASE', { index, num: 0 });
      this.#bases[index] = value.num;
    }
  }

  /** Goes on with another back end after the one before has vanished, and hands it what was in flight. */
  async reconnect(fd: number): Promise<void> {
    await this.negotiate(fd);
    for (const [index, queue] of this.queues.entries()) {
      // What a VMM can know of a ring whose back end is gone: what it has used. The records in flight know the rest.
      if (!queue.features.packed)
        this.#bases[index] = this.ram.region(queue.device, 4).u16[this.#usedAt(queue)] as number;
    }
    await this.start();
  }

  queue(index: number): DriverQueue {
    const queue = this.queues[index];
    if (queue === undefined) throw new RangeError(`there is no queue ${index}`);
    return queue;
  }

  async readConfig(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    return (await this.link.request('GET_CONFIG', { offset, flags: 0, bytes })).value.bytes;
  }

  async writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    await this.link.request('SET_CONFIG', { offset, flags: 0, bytes });
  }

  /** Publishes what was added to a queue, and waits until that many chains were used. @throws Error after `timeoutMs` */
  async exchange(index: number, count: number, timeoutMs = 5_000): Promise<Completion[]> {
    const queue = this.queue(index);
    const deadline = performance.now() + timeoutMs;
    const completions: Completion[] = [];
    queue.kick();
    for (;;) {
      completions.push(...queue.used());
      if (completions.length >= count) return completions;
      if (!queue.enableInterrupts()) continue;
      const left = deadline - performance.now();
      if (left <= 0) throw new Error(`only ${completions.length} of ${count} were used within ${timeoutMs} ms`);
      await this.#interrupt(queue, left);
    }
  }

  /** Blocks this thread until the device interrupts. For back ends in another process. False: not in time. No allocation. */
  wait(index: number, timeoutMs: number): boolean {
    const { callFd } = this.queue(index);
    return pollOne(callFd, 'readable', timeoutMs) && drainEventfd(callFd);
  }

  /** Whether the back end has given the queue up since it was last asked. */
  broken(index: number): boolean {
    return drainEventfd(this.#errors[index] ?? -1);
  }

  /** Ends the connection; memory and rings stay for reconnect(). */
  disconnect(): void {
    this.#link?.close();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.disconnect();
    for (const queue of this.queues) queue[Symbol.dispose]();
    closeFds(this.#errors);
    if (this.#inflight !== undefined) closeSync(this.#inflight.fd);
    if (this.#ownRam) this.ram[Symbol.dispose]();
  }

  async #shareInflight(): Promise<void> {
    const { link } = this;
    if (this.#inflight === undefined) {
      const queueSize = Math.max(...this.queues.map(({ size }) => size));
      const asked = { mmapSize: 0, mmapOffset: 0, queues: this.queues.length, queueSize };
      const { value, fds } = await link.request('GET_INFLIGHT_FD', asked);
      this.#inflight = { fd: fds[0] as number, description: value };
    }
    const { fd, description } = this.#inflight;
    await link.request('SET_INFLIGHT_FD', description, { fds: [fd] });
  }

  #user(guestAddress: number): number {
    const region = this.ram.region(guestAddress, 1);
    return region.userAddress + (guestAddress - region.guestAddress);
  }

  #usedAt(queue: DriverQueue): number {
    return (queue.device - this.ram.region(queue.device, 4).guestAddress) / 2 + 1;
  }

  #interrupt(queue: DriverQueue, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        waiting[Symbol.dispose]();
        drainEventfd(queue.callFd);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      const waiting = onReadable(queue.callFd, done);
    });
  }
}
