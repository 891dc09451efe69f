// For tests: a block device with a guest and its I/O played by the test, so that each operation can be seen, made to
// fail or held back.

import { rawFallocate, rawFdatasync, rawPread, rawPreadv, rawPwrite, rawPwritev } from '@runtime/sdk/linux';
import { createDriverQueue, createGuestRam, type DriverQueue, type Template } from '@runtime/sdk/testing';
import {
  createVirtqueue,
  type DeviceContext,
  type DeviceIo,
  type DeviceStats,
  type Virtqueue,
} from '@runtime/sdk/virtio';
import { BlockDevice, type BlockState } from './block-device.ts';
import device from './index.ts';
import { type BlockOptions, DEFAULTS } from './options.ts';
import { Feature, HEADER_BYTES, SECTOR } from './protocol.ts';

export interface Operation {
  readonly name: 'read' | 'write' | 'readv' | 'writev' | 'fdatasync' | 'fallocate';
  readonly token: number;
  readonly offset: number;
  readonly length: number;
  /** It should be carried out by another thread. */
  readonly aside: boolean;
  /** Carries it out. */
  readonly perform: (length?: number) => number;
}

/** Carries out what was asked for when `run` is called. */
export class FakeIo implements DeviceIo {
  /** What the next operations give instead of being carried out; `undefined` lets one be. */
  intercept: (operation: Operation) => number | undefined = () => undefined;
  readonly begun: Operation[] = [];
  readonly #waiting: Operation[] = [];
  readonly free: number;

  constructor(free = 64) {
    this.free = free;
  }

  get inFlight(): number {
    return this.#waiting.length;
  }

  read(fd: number, address: number, length: number, offset: number, token: number, aside = false): void {
    this.#begin('read', token, offset, length, (bytes = length) => rawPread(fd, address, bytes, offset), aside);
  }
  write(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#begin('write', token, offset, length, (bytes = length) => rawPwrite(fd, address, bytes, offset));
  }
  readv(fd: number, iovecs: number, count: number, offset: number, token: number, aside = false): void {
    this.#begin('readv', token, offset, count, () => rawPreadv(fd, iovecs, count, offset), aside);
  }
  writev(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#begin('writev', token, offset, count, () => rawPwritev(fd, iovecs, count, offset));
  }
  fdatasync(fd: number, token: number): void {
    this.#begin('fdatasync', token, 0, 0, () => rawFdatasync(fd));
  }
  fallocate(fd: number, mode: number, offset: number, length: number, token: number): void {
    this.#begin('fallocate', token, offset, length, () => rawFallocate(fd, mode, offset, length));
  }

  /** Ends what has begun by now. */
  step(complete: (token: number, result: number) => void): void {
    for (const operation of this.#waiting.splice(0)) {
      complete(operation.token, this.intercept(operation) ?? operation.perform());
    }
  }

  #begin(
    name: Operation['name'],
    token: number,
    offset: number,
    length: number,
    perform: (length?: number) => number,
    aside = false,
  ): void {
    const operation = { name, token, offset, length, aside, perform };
    this.begun.push(operation);
    this.#waiting.push(operation);
  }
}

export interface Answer {
  /** `undefined`: no byte to put it in. */
  readonly status: number | undefined;
  readonly data: Uint8Array;
  readonly written: number;
}

export interface Request {
  readonly type: number;
  readonly sector?: number | bigint;
  /** What the driver sends after the header. */
  readonly out?: Uint8Array;
  /** Bytes that it has room for, the status not counted. */
  readonly room?: number;
  /** Lengths of the segments; by default header, data and status have one each. */
  readonly split?: readonly number[];
}

interface Sent {
  readonly template: Template;
  /** Segments to write. */
  readonly writable: readonly (readonly [address: number, length: number])[];
  written?: number;
}

const MEMORY_BYTES = 8 * 2 ** 20;
/** Two regions that are neighbours for the guest. */
const REGIONS = [
  { guestAddress: 0x10_0000, size: MEMORY_BYTES / 2 },
  { guestAddress: 0x10_0000 + MEMORY_BYTES / 2, size: MEMORY_BYTES / 2 },
];

const ALL_FEATURES = [Feature.flush, Feature.configWce];

export class BlockRig implements Disposable {
  readonly io: FakeIo;
  readonly stats: DeviceStats = {};
  readonly warnings: string[] = [];
  readonly options: BlockOptions;
  config: Uint8Array;
  configChanges = 0;
  device: BlockDevice;
  features = ALL_FEATURES.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
  readonly #ram = createGuestRam(REGIONS);
  readonly #driver: DriverQueue;
  readonly #queue: Virtqueue;
  readonly #fds: Readonly<Record<string, number>>;
  readonly #sent: Sent[] = [];
  readonly #byToken = new Map<number, Sent>();

  constructor(disk: number, options: Partial<BlockOptions> = {}, io: FakeIo = new FakeIo()) {
    this.io = io;
    // So that each write passes through `io`, as one past the page cache does.
    this.options = { ...DEFAULTS, direct: true, ...options };
    this.#fds = { disk };
    this.#driver = createDriverQueue(this.#ram, { size: 256 });
    this.#queue = createVirtqueue(this.#driver.setup());
    this.config = device.config?.(this.options, this.#fds) ?? new Uint8Array();
    this.device = this.#makeDevice(undefined);
  }

  /** Puts new code in the place of the old, as a reload does. */
  async replace(): Promise<void> {
    await this.device.quiesce();
    const state = structuredClone(this.device.snapshot());
    this.device.dispose();
    this.device = this.#makeDevice(state);
  }

  /** Makes a request available and returns its number; `run` serves it. */
  send(request: Request): number {
    const { type, sector = 0, out = new Uint8Array(), room = 0 } = request;
    const header = new Uint8Array(HEADER_BYTES + out.length);
    const view = new DataView(header.buffer);
    view.setUint32(0, type, true);
    view.setBigUint64(8, BigInt(sector), true);
    header.set(out, HEADER_BYTES);
    const split = request.split ?? [HEADER_BYTES, out.length, room, 1];
    return this.sendRaw(header, room + 1, split);
  }

  /** @param split lengths of segments, those of `readable` first; what they do not cover gets one segment each */
  sendRaw(readable: Uint8Array, writable: number, split: readonly number[] = []): number {
    const lengths = [...split];
    const cut = (bytes: number): [address: number, length: number][] => {
      const segments: [number, number][] = [];
      for (let left = bytes; left > 0; ) {
        const length = Math.min(left, lengths.shift() || left);
        segments.push([this.#ram.alloc(length), length]);
        left -= length;
      }
      return segments;
    };
    const out = cut(readable.length);
    let done = 0;
    for (const [address, length] of out) {
      this.#ram.bytes(address, length).set(readable.subarray(done, done + length));
      done += length;
    }
    const room = cut(writable);
    for (const [address, length] of room) this.#ram.bytes(address, length).fill(0xee);
    const template = this.#driver.template([...out, ...room], out.length);
    if (template === undefined || !this.#driver.submit(template)) throw new RangeError('the ring is full');
    const sent: Sent = { template, writable: room };
    this.#byToken.set(template.token, sent);
    return this.#sent.push(sent) - 1;
  }

  /** Serves what was sent, until nothing is left to do. */
  run(): void {
    this.#driver.kick();
    do {
      this.device.process(this.#queue);
      this.io.step((token, result) => this.device.complete(token, result));
      this.#collect();
    } while (this.io.inFlight > 0 || !this.#queue.enableNotifications());
  }

  /** Takes what was sent, and ends none of it. */
  begin(): void {
    this.#driver.kick();
    this.device.process(this.#queue);
  }

  answer(number: number): Answer | undefined {
    const { writable = [], written } = this.#sent[number] ?? {};
    if (written === undefined) return undefined;
    const bytes = Buffer.concat(writable.map(([address, length]) => this.#ram.bytes(address, length)));
    return { status: bytes.at(-1), data: bytes.subarray(0, -1), written };
  }

  ask(request: Request): Answer {
    const head = this.send(request);
    this.run();
    const answer = this.answer(head);
    if (answer === undefined) throw new Error('the request was not answered');
    return answer;
  }

  read(sector: number, bytes: number): Answer {
    return this.ask({ type: 0, sector, room: bytes });
  }

  write(sector: number, data: Uint8Array): Answer {
    return this.ask({ type: 1, sector, out: data });
  }

  /** The driver writes the configuration space. */
  writeConfig(offset: number, ...bytes: readonly number[]): void {
    this.config.set(bytes, offset);
    this.device.configWritten();
  }

  get capacity(): number {
    return Number(new DataView(this.config.buffer).getBigUint64(0, true)) * SECTOR;
  }

  [Symbol.dispose](): void {
    this.device.dispose();
    if (!this.#ram.intact) throw new Error('the device has written outside of the memory of the guest');
    this.#driver[Symbol.dispose]();
    this.#ram[Symbol.dispose]();
  }

  #collect(): void {
    this.#queue.flush();
    while (this.#driver.next()) {
      const sent = this.#byToken.get(this.#driver.doneToken);
      if (sent === undefined) throw new Error('something was used that was not sent');
      sent.written = this.#driver.doneWritten;
      this.#byToken.delete(sent.template.token);
      this.#driver.release(sent.template);
    }
  }

  #makeDevice(state: BlockState | undefined): BlockDevice {
    const context: DeviceContext<BlockOptions, BlockState> = {
      id: 'block0',
      options: this.options,
      fds: this.#fds,
      config: {
        bytes: this.config,
        update: (change) => {
          change(new DataView(this.config.buffer));
          this.configChanges += 1;
        },
      },
      io: this.io,
      stats: this.stats,
      log: { info: () => {}, warn: (message) => this.warnings.push(message) },
      previous: state === undefined ? undefined : { schema: 1, state, fromVersion: '' },
      signal: new AbortController().signal,
      features: () => this.features,
      queue: () => this.#queue,
      wake: () => {},
      watch: () => ({ [Symbol.dispose]: () => {} }),
      request: () => Promise.reject(new Error('no runtime')),
    };
    return new BlockDevice(context);
  }
}
