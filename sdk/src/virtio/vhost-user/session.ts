// What one connection has agreed on and set up: features, memory, rings, log, in-flight records, channel. The requests
// that change it are in handlers.ts.

import { fstatSync, readlinkSync } from 'node:fs';
import { errors } from '../../errors.ts';
import { type Mapping, mapFile, PAGE_SIZE } from '../../linux/mapping.ts';
import { memfdCreate } from '../../linux/memfd.ts';
import type { BackendDevice } from '../backend-device.ts';
import { VIRTIO_F } from '../constants.ts';
import type { DeviceLog } from '../device.ts';
import { DirtyLog } from '../dirty-log.ts';
import { GuestMemory } from '../guest-memory.ts';
import { type InflightQueue, InflightRegion } from '../inflight.ts';
import { closeFds, type ReceivedFds } from './frames.ts';
import { type MappedRegion, unmapRegions } from './memory-regions.ts';
import { BackendRequest, featureBits, ProtocolFeature, type ProtocolFeatureName, VhostFeature } from './messages.ts';
import type { InflightDescription, LogDescription } from './payloads.ts';
import type { RequestChannel } from './request-channel.ts';
import type { StateTransfer } from './state-transfer.ts';
import { type VringHost, Vrings } from './vrings.ts';

export interface VhostUserLimits {
  /** Regions that ADD_MEM_REG may add up to; default 64. With 0 regions are not offered to come one by one. */
  readonly memorySlots?: number;
  /** Bytes of device state that are taken; default 64 MiB. */
  readonly stateBytes?: number;
}

/** What only a network device can do for its front end. */
export interface NetHooks {
  /** False: not with this MTU. */
  setMtu?(mtu: number): boolean;
  /** Announce the guest under this MAC address, since it does not do so itself. */
  sendRarp?(mac: Uint8Array): void;
}

export interface SessionOptions {
  readonly log: DeviceLog;
  readonly limits?: VhostUserLimits;
  /** Bytes of each shared memory region of the device, by its id; multiples of the page size. */
  readonly sharedMemory?: readonly number[];
  readonly net?: NetHooks;
  /**
   * Offers kicks and calls as messages, for simulated time; default false. QEMU would accept it without being able to.
   */
  readonly inband?: boolean;
}

const LOG_ALL = 1n << BigInt(VhostFeature.logAll);
const PROTOCOL_FEATURES = 1n << BigInt(VhostFeature.protocolFeatures);
/** Bits that are between the front end and this; the device never sees them. */
export const TRANSPORT_FEATURES: bigint = LOG_ALL | PROTOCOL_FEATURES;

const ALWAYS: readonly ProtocolFeatureName[] = [
  'mq',
  'logShmfd',
  'replyAck',
  'backendReq',
  'backendSendFd',
  'inflightShmfd',
  'resetDevice',
  'status',
  'deviceState',
];

export class Session implements VringHost {
  readonly device: BackendDevice;
  readonly options: SessionOptions;
  readonly rings: Vrings;
  readonly memorySlots: number;
  readonly stateBytes: number;
  /** Offered to the front end. */
  readonly offered: bigint;
  readonly offeredProtocol: bigint;
  /** Accepted by it. */
  features = 0n;
  protocol = 0n;
  /** The front end has begun to negotiate on this connection. */
  asked = false;
  status = 0;
  regions: readonly MappedRegion[] = [];
  memory: GuestMemory = GuestMemory.EMPTY;
  channel: RequestChannel | undefined;
  transfer: StateTransfer | undefined;
  #logFd = -1;
  #dirty: { readonly mapping: Mapping; readonly log: DirtyLog } | undefined;
  #inflight: (InflightDescription & { readonly mapping: Mapping; readonly offset: number }) | undefined;
  #configChanged = false;

  constructor(device: BackendDevice, options: SessionOptions) {
    this.device = device;
    this.options = options;
    this.memorySlots = options.limits?.memorySlots ?? 64;
    this.stateBytes = options.limits?.stateBytes ?? 64 * 2 ** 20;
    this.offered = device.features | TRANSPORT_FEATURES;
    const names = [...ALWAYS];
    if (this.memorySlots > 0) names.push('configureMemSlots');
    if (device.configSize > 0) names.push('config');
    if (options.inband === true) names.push('inbandNotifications');
    if (options.sharedMemory !== undefined && options.sharedMemory.length > 0) names.push('shmem');
    if (options.net?.setMtu !== undefined) names.push('mtu');
    if (options.net?.sendRarp !== undefined) names.push('rarp');
    this.offeredProtocol = featureBits(names);
    this.rings = new Vrings(this);
  }

  /**
   * The front end takes this for the one it negotiated with before, as QEMU 7.2 does for a vhost-user-rng that comes
   * back: what is offered is the same, and what of it was accepted is not told again.
   */
  goOn(): void {
    this.protocol = this.offeredProtocol & ~featureBits(['inbandNotifications']);
  }

  negotiated(feature: ProtocolFeatureName): boolean {
    return ((this.protocol >> BigInt(ProtocolFeature[feature])) & 1n) === 1n;
  }

  get packed(): boolean {
    return ((this.features >> BigInt(VIRTIO_F.ringPacked)) & 1n) === 1n;
  }

  get inband(): boolean {
    return this.negotiated('inbandNotifications');
  }

  /** Puts other regions in place; what is mapped no more is unmapped when no ring runs on it. */
  async setMemory(request: string, regions: readonly MappedRegion[]): Promise<void> {
    // Throws before anything has changed.
    const memory = GuestMemory.create(regions.flatMap(({ specs }) => specs));
    const before = this.regions;
    await this.rings.around(request, () => {
      this.regions = regions;
      this.memory = memory;
    });
    unmapRegions(before.filter((region) => !regions.includes(region)));
  }

  async setLog(request: string, { size, offset }: LogDescription, fds: ReceivedFds): Promise<void> {
    const mapping = mapShared(request, fds, size, offset);
    const log = new DirtyLog(mapping, offset % PAGE_SIZE, size);
    const before = this.#dirty?.mapping;
    const change = (): void => {
      this.#dirty = { mapping, log };
    };
    try {
      if (this.#logging) await this.rings.around(request, change);
      else change();
    } finally {
      (this.#dirty?.log === log ? before : mapping)?.[Symbol.dispose]();
    }
  }

  setLogFd(fd: number): void {
    closeFds([this.#logFd]);
    this.#logFd = fd;
  }

  /** New records in a file that the front end keeps; the caller closes the descriptor. @throws SDK_ERR_VHOST_USER_REFUSED */
  async createInflight(request: string, asked: InflightDescription): Promise<{ fd: number; mmapSize: number }> {
    const mmapSize = this.#inflightSize(request, asked);
    const fd = memfdCreate('vhost-user-inflight', { size: mmapSize, seals: ['grow', 'shrink', 'seal'] });
    try {
      await this.#useInflight(request, { ...asked, mmapSize, mmapOffset: 0 }, mapFile(fd, mmapSize), 0);
      return { fd, mmapSize };
    } catch (e) {
      closeFds([fd]);
      throw e;
    }
  }

  async setInflight(request: string, description: InflightDescription, fds: ReceivedFds): Promise<void> {
    const { mmapSize, mmapOffset } = description;
    const needed = this.#inflightSize(request, description);
    if (mmapSize < needed) throw refused(request, `${mmapSize} bytes are too few for ${needed}`);
    const mapping = mapShared(request, fds, needed, mmapOffset);
    await this.#useInflight(request, description, mapping, mmapOffset % PAGE_SIZE);
  }

  /** The front end takes the device back to its beginning. */
  async reset(): Promise<void> {
    await this.rings.stopAll();
    for (const ring of this.rings.all) {
      closeFds([ring.kick]);
      Object.assign(ring, { kick: -1, started: false, enabled: false, broken: undefined, answeredBase: undefined });
      this.inflight(ring.index)?.forget();
    }
    this.features &= TRANSPORT_FEATURES;
    this.status = 0;
    this.device.reset();
  }

  notifyConfigChange(): void {
    if (this.channel === undefined || !this.negotiated('config')) return;
    // A suspended device says nothing to the front end, which asks anew before it starts the rings.
    if (this.rings.running === 0) {
      this.#configChanged = true;
      return;
    }
    this.#configChanged = false;
    this.#tell('BACKEND_CONFIG_CHANGE_MSG', (channel, acknowledged) =>
      channel.request(BackendRequest.CONFIG_CHANGE_MSG, undefined, { acknowledged }),
    );
  }

  // What the rings ask for

  inflight(index: number): InflightQueue | undefined {
    const region = this.#inflight;
    if (region === undefined || index >= region.queues) return undefined;
    return InflightRegion.queue(region.mapping, region.offset, index, region.queueSize, this.packed);
  }

  dirtyLog(): DirtyLog | undefined {
    return this.#logging ? this.#dirty?.log : undefined;
  }

  call(index: number): void {
    this.#tell('BACKEND_VRING_CALL', (channel, acknowledged) =>
      channel.request(BackendRequest.VRING_CALL, { index, num: 0 }, { acknowledged }),
    );
  }

  broken(index: number, why: string): void {
    this.options.log.warn(`queue ${index} cannot be used: ${why}`);
    if (!this.inband || (this.rings.all[index]?.err ?? -1) >= 0) return;
    this.#tell('BACKEND_VRING_ERR', (channel, acknowledged) =>
      channel.request(BackendRequest.VRING_ERR, { index, num: 0 }, { acknowledged }),
    );
  }

  activity(running: boolean): void {
    if (running && this.#configChanged) this.notifyConfigChange();
  }

  /** Gives back all that the connection held. Nothing runs any more. */
  close(): void {
    this.channel?.close();
    this.channel = undefined;
    this.rings.close();
    this.setLogFd(-1);
    this.memory = GuestMemory.EMPTY;
    unmapRegions(this.regions);
    this.regions = [];
    this.#dirty?.mapping[Symbol.dispose]();
    this.#dirty = undefined;
    this.#inflight?.mapping[Symbol.dispose]();
    this.#inflight = undefined;
  }

  describe(): Readonly<Record<string, unknown>> {
    return {
      features: `0x${this.features.toString(16)}`,
      protocolFeatures: Object.keys(ProtocolFeature).filter((name) => this.negotiated(name as ProtocolFeatureName)),
      status: this.status,
      memory: this.regions.map(({ description, sealed }) => ({
        guestAddress: `0x${description.guestAddress.toString(16)}`,
        size: description.size,
        sealed,
      })),
      inflight: this.#inflight !== undefined,
      logging: this.dirtyLog() !== undefined,
      queues: this.rings.all.map(({ index, num, started, enabled, running, broken }) => ({
        index,
        size: num,
        started,
        enabled,
        running,
        ...(broken === undefined ? {} : { broken }),
      })),
    };
  }

  get #logging(): boolean {
    return (this.features & LOG_ALL) !== 0n;
  }

  #inflightSize(request: string, { queues, queueSize }: InflightDescription): number {
    const { queueCount, queueSizes } = this.device;
    const largest = Math.max(...queueSizes);
    if (queues < 1 || queues > queueCount || queueSize < 1 || queueSize > largest) {
      throw refused(request, `${queues} queues of ${queueSize} are not within ${queueCount} of ${largest}`);
    }
    return InflightRegion.size(queues, queueSize, this.packed);
  }

  async #useInflight(
    request: string,
    description: InflightDescription,
    mapping: Mapping,
    offset: number,
  ): Promise<void> {
    const before = this.#inflight?.mapping;
    try {
      await this.rings.around(request, () => {
        this.#inflight = { ...description, mapping, offset };
      });
    } finally {
      (this.#inflight?.mapping === mapping ? before : mapping)?.[Symbol.dispose]();
    }
  }

  #tell(what: string, send: (channel: RequestChannel, acknowledged: boolean) => Promise<void>): void {
    if (this.channel === undefined) return;
    send(this.channel, this.negotiated('replyAck')).catch((e: unknown) => {
      this.options.log.warn(`${what} failed: ${e instanceof Error ? e.message : e}`);
    });
  }
}

export const refused = (request: string, why: string): Error =>
  errors.SDK_ERR_VHOST_USER_REFUSED({ details: { request, why } });

/** Takes the descriptor and maps part of its file, from the start of a page on. */
function mapShared(request: string, fds: ReceivedFds, size: number, offset: number): Mapping {
  const fd = fds.take() as number;
  try {
    const status = fstatSync(fd);
    if (!status.isFile() || size === 0 || offset + size > status.size || offset % 8 !== 0) {
      throw refused(request, `${size} bytes at offset ${offset} are not in the file that came`);
    }
    const before = offset % PAGE_SIZE;
    return mapFile(fd, size + before, { offset: offset - before });
  } finally {
    closeFds([fd]);
  }
}

/** @throws SDK_ERR_VHOST_USER_REFUSED for what is none: waiting for it could end the process */
export function checkEventfd(request: string, fd: number): void {
  let link: string;
  try {
    link = readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // No procfs in this jail. An eventfd is neither file, device, pipe nor socket: its mode has no type.
    link = (fstatSync(fd).mode & 0o170000) === 0 ? 'anon_inode:[eventfd]' : 'another file';
  }
  if (!link.startsWith('anon_inode:[eventfd]')) throw refused(request, `${link} came where an eventfd should`);
}

/** Takes a descriptor that can be waited for, which is a socket or, with `pipe`, a pipe or file as well. */
export function takeStream(request: string, fds: ReceivedFds, pipe: boolean): number {
  const fd = fds.take() as number;
  const status = fstatSync(fd);
  if (status.isSocket() || (pipe && (status.isFIFO() || status.isFile()))) return fd;
  closeFds([fd]);
  throw refused(request, `the descriptor is no ${pipe ? 'pipe' : 'socket'}`);
}
