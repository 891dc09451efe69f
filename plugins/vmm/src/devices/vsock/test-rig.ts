// For tests: a vsock device with a guest played packet by packet, and the runtime's half played by the test.

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectUnix, listenUnix, type Mapping, mapAnonymous } from '@runtime/sdk/linux';
import { type DeviceContext, type DeviceStats, GuestMemory, type Virtqueue } from '@runtime/sdk/virtio';
import { closeFd } from './close-fd.ts';
import { DEFAULTS, type VsockOptions } from './options.ts';
import { HEADER_BYTES, HOST_CID, OP } from './packet.ts';
import { type Segment, TestRing } from './test-ring.ts';
import { VsockDevice, type VsockState } from './vsock-device.ts';

/** Those of the test itself, also while the device's are faked. */
const later = globalThis.setTimeout;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => later(resolve, ms));

export const CID = 42;
const QUEUE_SIZE = 256;
const MEMORY_BYTES = 48 * 2 ** 20;
const RINGS_BYTES = 0x1_0000;

export interface Packet {
  readonly op: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly bufAlloc: number;
  readonly forwarded: number;
  readonly sourceCid: bigint;
  readonly destinationCid: bigint;
  readonly data: Uint8Array;
}

export type Given = Partial<Omit<Packet, 'data'>> & { readonly data?: Uint8Array };

export function encode(given: Given): Uint8Array {
  const { data = new Uint8Array(0) } = given;
  const bytes = new Uint8Array(HEADER_BYTES + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, given.sourceCid ?? BigInt(CID), true);
  view.setBigUint64(8, given.destinationCid ?? BigInt(HOST_CID), true);
  view.setUint32(16, given.sourcePort ?? 0, true);
  view.setUint32(20, given.destinationPort ?? 0, true);
  view.setUint32(24, given.length ?? data.length, true);
  view.setUint16(28, given.type ?? 1, true);
  view.setUint16(30, given.op ?? OP.rw, true);
  view.setUint32(32, given.flags ?? 0, true);
  view.setUint32(36, given.bufAlloc ?? 256 * 1024, true);
  view.setUint32(40, given.forwarded ?? 0, true);
  bytes.set(data, HEADER_BYTES);
  return bytes;
}

export function decode(bytes: Uint8Array): Packet {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    sourceCid: view.getBigUint64(0, true),
    destinationCid: view.getBigUint64(8, true),
    sourcePort: view.getUint32(16, true),
    destinationPort: view.getUint32(20, true),
    length: view.getUint32(24, true),
    type: view.getUint16(28, true),
    op: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    bufAlloc: view.getUint32(36, true),
    forwarded: view.getUint32(40, true),
    data: bytes.subarray(HEADER_BYTES),
  };
}

export interface RigOptions {
  readonly options?: Partial<VsockOptions>;
  /** Bytes of each receive buffer. */
  readonly rxBytes?: number;
  /** Guest ports with a socket of their own. */
  readonly ports?: readonly number[];
  readonly withEventQueue?: boolean;
}

export class VsockRig implements AsyncDisposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'vsock-'));
  readonly stats: DeviceStats = {};
  readonly options: VsockOptions;
  readonly fds: Record<string, number> = {};
  device: VsockDevice;
  /** What the guest got and nobody has looked at. */
  readonly received: Packet[] = [];
  /** Given each packet instead, when it is set. */
  onPacket: ((packet: Packet) => void) | undefined;
  /** The runtime's half: a descriptor for a port of the host. */
  connect: (port: number) => number | Promise<number> = () => Promise.reject(new Error('refused'));
  /** Whether receive buffers that were used are made available again. */
  isReading = true;
  readonly rxBytes: number;
  readonly #mapping: Mapping;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #rings: TestRing[];
  readonly #rxAddress = new Map<number, number>();
  readonly #idleRx: number[] = [];
  readonly #txAddress = new Map<number, number>();
  readonly #txSlots: number[];
  readonly #unsent: Uint8Array[] = [];
  readonly #cleanups: (() => void)[] = [];
  #isScheduled = false;
  #isClosed = false;

  constructor({ options = {}, rxBytes = 4096, ports = [], withEventQueue = true }: RigOptions = {}) {
    this.options = { cid: CID, ...DEFAULTS, ...options };
    this.rxBytes = rxBytes;
    this.#mapping = mapAnonymous(MEMORY_BYTES);
    this.#view = new DataView(this.#mapping.buffer);
    this.#bytes = new Uint8Array(this.#mapping.buffer);
    const region = { guestAddress: 0, size: MEMORY_BYTES, userAddress: 0, mapping: this.#mapping, mappingOffset: 0 };
    const memory = GuestMemory.create([region]);
    this.#rings = Array.from(
      { length: withEventQueue ? 3 : 2 },
      (_, i) => new TestRing(memory, i, QUEUE_SIZE, i * 0x4000, this.#view),
    );
    const txAt = RINGS_BYTES + QUEUE_SIZE * 0x1_2000;
    this.#txSlots = Array.from({ length: 128 }, (_, i) => txAt + i * 0x1_2000);
    for (let i = 0; i < QUEUE_SIZE; i++) this.#idleRx.push(RINGS_BYTES + i * 0x1_2000);
    this.fds.listen = listenUnix(this.path('vsock.sock'), { backlog: 4096 });
    for (const port of ports) this.fds[`port-${port}`] = listenUnix(this.path(`port-${port}`), { backlog: 4096 });
    this.device = this.#makeDevice(undefined);
    this.start();
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  queue(index: number): Virtqueue | undefined {
    return this.#rings[index]?.queue;
  }

  start(): void {
    for (const { queue } of this.#rings) this.device.started(queue);
    this.#postRx();
    this.wake();
  }

  wake(): void {
    if (this.#isScheduled || this.#isClosed) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.#isClosed) this.turn();
    });
  }

  /** What the device loop does on a kick. */
  turn(): void {
    for (const { queue } of this.#rings) this.device.process(queue);
    for (const { queue } of this.#rings) queue.flush();
    const used = this.#rings[0]?.take() ?? [];
    for (const { head, written } of used) {
      const address = this.#rxAddress.get(head) as number;
      this.#rxAddress.delete(head);
      this.#idleRx.push(address);
      if (written === 0) continue;
      const packet = decode(this.#bytes.slice(address, address + written));
      if (this.onPacket === undefined) this.received.push(packet);
      else this.onPacket(packet);
    }
    for (const { head } of this.#rings[1]?.take() ?? []) {
      const slot = this.#txAddress.get(head);
      if (slot !== undefined) this.#txSlots.push(slot);
      this.#txAddress.delete(head);
    }
    const isMoving = this.#sendMore() || used.length > 0;
    this.#postRx();
    if (isMoving) this.wake();
  }

  /** Puts a packet on the transmit ring, or behind those that wait for room there. */
  send(given: Given): void {
    this.sendRaw(encode(given));
  }

  /** Any bytes as a packet of the guest; at most 72 KiB. */
  sendRaw(bytes: Uint8Array): void {
    this.#unsent.push(bytes);
    this.#sendMore();
    this.wake();
  }

  /** Receive buffers are made available again, after `isReading` was false. */
  resumeReading(): void {
    this.isReading = true;
    this.#postRx();
    this.wake();
  }

  /** The next packet that the guest gets for which `isIt` says so; others are dropped. */
  async packet(isIt: (packet: Packet) => boolean = () => true, ms = 5_000): Promise<Packet> {
    for (let left = ms; ; left--) {
      const packet = this.received.shift();
      if (packet !== undefined && isIt(packet)) return packet;
      if (packet !== undefined) continue;
      if (left === 0) throw new Error('the guest did not get that packet');
      this.wake();
      await sleep(1);
    }
  }

  async op(op: number): Promise<Packet> {
    return this.packet((packet) => packet.op === op);
  }

  /** Lets everything happen that is under way. */
  async settle(ms = 20): Promise<void> {
    this.wake();
    await sleep(ms);
  }

  /** Whether the event queue was used; gives it a buffer first. */
  async takeEvent(): Promise<number | undefined> {
    const ring = this.#rings[2];
    const address = RINGS_BYTES - 8;
    this.#view.setUint32(address, 0xffff_ffff, true);
    ring?.add([{ address, length: 8, writable: true }]);
    await this.settle();
    const used = ring?.take() ?? [];
    return used.length === 0 ? undefined : this.#view.getUint32(address, true);
  }

  /** A server of the host that the device's requests for `port` lead to. */
  serve(port: number, onSocket: (socket: Socket) => void): Server {
    const path = this.path(`vsock.sock_${port}`);
    const server = createServer({ allowHalfOpen: true }, onSocket).listen({ path, backlog: 4096 });
    this.#cleanups.push(() => server.close());
    const before = this.connect;
    this.connect = (asked) => (asked === port ? connectUnix(path) : before(asked));
    return server;
  }

  /** A client of the host. */
  client(name: string): Socket {
    const socket = connect({ path: this.path(name), allowHalfOpen: true });
    socket.on('error', () => {});
    this.#cleanups.push(() => socket.destroy());
    return socket;
  }

  /** Puts new code in the place of the old, as a reload does. */
  replace(): void {
    const state = structuredClone(this.device.snapshot());
    this.device.dispose();
    this.device = this.#makeDevice(state);
    this.start();
  }

  /** The state goes to another process, and this one ends, with its sockets. */
  moveElsewhere(): void {
    const state = structuredClone(this.device.snapshot());
    const { connections, lingerers } = state.muxer;
    this.device.dispose();
    for (const { fd } of [...connections, ...lingerers, ...state.handshakes]) closeFd(fd);
    this.device = this.#makeDevice({ ...state, process: 'another' });
    this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.device.dispose();
    for (const cleanup of this.#cleanups) cleanup();
    for (const fd of Object.values(this.fds)) closeFd(fd);
    await sleep(5);
    this.#mapping[Symbol.dispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #makeDevice(state: VsockState | undefined): VsockDevice {
    const context: DeviceContext<VsockOptions, VsockState> = {
      id: 'vsock0',
      options: this.options,
      fds: this.fds,
      config: { bytes: new Uint8Array(8), update: () => {} },
      io: undefined as never,
      stats: this.stats,
      log: { info: () => {}, warn: () => {} },
      previous: state === undefined ? undefined : { schema: 1, state, fromVersion: '' },
      signal: new AbortController().signal,
      features: () => 0n,
      queue: (index) => this.queue(index),
      wake: () => this.wake(),
      watch: () => ({ [Symbol.dispose]: () => {} }),
      request: async (method, params) => {
        if (method !== 'connect') throw new Error(method);
        return { value: {}, fds: [await this.connect((params as { port: number }).port)] };
      },
    };
    return new VsockDevice(context);
  }

  #postRx(): void {
    if (!this.isReading) return;
    for (;;) {
      const address = this.#idleRx[0];
      if (address === undefined) return;
      const head = this.#rings[0]?.add([{ address, length: this.rxBytes, writable: true }]);
      if (head === undefined) return;
      this.#idleRx.shift();
      this.#rxAddress.set(head, address);
    }
  }

  #sendMore(): boolean {
    let sent = false;
    for (;;) {
      const [bytes] = this.#unsent;
      const [slot] = this.#txSlots;
      if (bytes === undefined || slot === undefined) return sent;
      this.#bytes.set(bytes, slot);
      // As Linux does: the header in a descriptor of its own.
      const cut = Math.min(HEADER_BYTES, bytes.length);
      const segments: Segment[] = [{ address: slot, length: cut, writable: false }];
      if (bytes.length > cut) segments.push({ address: slot + cut, length: bytes.length - cut, writable: false });
      const head = this.#rings[1]?.add(segments);
      if (head === undefined) return sent;
      this.#unsent.shift();
      this.#txSlots.shift();
      this.#txAddress.set(head, slot);
      sent = true;
    }
  }
}

export const random = (bytes: number): Uint8Array => randomBytes(bytes);
