// The device at work: requests go to the machine, everything else is handled here.

import type { DeviceContext, DeviceInstance, Virtqueue } from '@runtime/sdk/virtio';
import { errors } from '../../errors.ts';
import { isWriteback, setCapacity, setWriteback } from './config-layout.ts';
import { named } from './descriptors.ts';
import { ErrorLog } from './error-log.ts';
import { IovecTable } from './iovec-table.ts';
import { openStore } from './open-store.ts';
import type { BlockOptions } from './options.ts';
import { PromptIo } from './prompt-io.ts';
import { Feature, SECTOR } from './protocol.ts';
import { readsAtOnce } from './reads-at-once.ts';
import { RequestMachine } from './request-machine.ts';
import { countIn } from './stats.ts';

export interface BlockState {
  readonly writeback: boolean;
}

/** What readv(2) takes. */
const IOV_MAX = 1024;
/** A segment that spans two regions of guest memory becomes two. */
const SPARE_IOVECS = 16;

const has = (features: bigint, bit: number): boolean => ((features >> BigInt(bit)) & 1n) === 1n;

export class BlockDevice implements DeviceInstance<BlockState> {
  readonly #device: DeviceContext<BlockOptions, BlockState>;
  readonly #iovecs: IovecTable;
  readonly #io: PromptIo;
  readonly #machine: RequestMachine;
  /** What the configuration space is, whatever the driver writes. */
  #config: Uint8Array;
  #settled: (() => void) | undefined;

  constructor(device: DeviceContext<BlockOptions, BlockState>) {
    const { options, fds } = device;
    this.#device = device;
    // Each request may have one operation in flight, so that the store never has to wait for room.
    const requests = Math.min(options.queues * options.queueSize, device.io.free);
    const iovecs = new IovecTable(requests, Math.min(options.queueSize + SPARE_IOVECS, IOV_MAX));
    this.#iovecs = iovecs;
    const io = new PromptIo(device.io, {
      enabled: !options.direct,
      readsAtOnce: !options.direct && readsAtOnce(named(fds, 'disk')),
      iovecs,
      complete: (token, result) => this.#machine.store.complete(token, result),
    });
    this.#io = io;
    const errorLog = new ErrorLog(device.log);
    this.#machine = new RequestMachine(
      { ...options, requests, iovecs, stats: countIn(device.stats), errorLog },
      (done) =>
        openStore(options, fds, { io, iovecs, requests, done, warn: (why, fields) => errorLog.warn(why, fields) }),
    );
    if (device.previous !== undefined) setWriteback(device.config.bytes, device.previous.state.writeback);
    this.#config = device.config.bytes.slice();
    this.#choose();
  }

  process(queue: Virtqueue): void {
    this.#machine.process(queue);
    this.#io.deliver();
  }

  complete(token: number, result: number): void {
    this.#machine.store.complete(token, result);
    this.#io.deliver();
    if (this.#settled !== undefined && this.#machine.inFlight === 0) this.#settled();
  }

  started(): void {
    this.#choose();
  }

  configWritten(): void {
    const { bytes } = this.#device.config;
    const writeback = isWriteback(bytes);
    bytes.set(this.#config);
    if (!has(this.#device.features(), Feature.configWce)) return;
    setWriteback(bytes, writeback);
    this.#config = bytes.slice();
    this.#choose();
  }

  async handle(method: string, params: unknown): Promise<unknown> {
    if (method !== 'resize') throw errors.VMM_ERR_DISK_REQUEST({ details: { method } });
    return await this.#resize(params);
  }

  reset(): void {
    setWriteback(this.#device.config.bytes, true);
    this.#config = this.#device.config.bytes.slice();
    this.#choose();
  }

  async quiesce(): Promise<void> {
    if (this.#machine.inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#settled = resolve;
      });
      this.#settled = undefined;
    }
    await this.#machine.store.settle();
  }

  snapshot(): BlockState {
    return { writeback: isWriteback(this.#config) };
  }

  dispose(): void {
    this.#machine.store[Symbol.dispose]();
    this.#iovecs[Symbol.dispose]();
  }

  /** §5.2.6.2: without FLUSH, or with the cache switched off, a write that has ended is on stable storage. */
  #choose(): void {
    const features = this.#device.features();
    const isOff = has(features, Feature.configWce) && !isWriteback(this.#config);
    this.#machine.writeThrough = isOff || !has(features, Feature.flush);
  }

  async #resize(params: unknown): Promise<{ readonly capacity: number }> {
    const { capacity, shrink } = (params ?? {}) as { readonly capacity?: unknown; readonly shrink?: unknown };
    const { blockSize, readonly } = this.#device.options;
    const { store } = this.#machine;
    const refuse = (why: string): Error => errors.VMM_ERR_DISK_RESIZE({ details: { why } });
    if (typeof capacity !== 'number' || !Number.isSafeInteger(capacity) || capacity < SECTOR) {
      throw refuse('the new size is no number of bytes');
    }
    if (capacity % blockSize !== 0) throw refuse(`${capacity} bytes are no whole blocks of ${blockSize} bytes`);
    if (readonly) throw refuse('the disk is read-only');
    if (capacity < store.capacity && shrink !== true) {
      throw refuse(`${capacity} bytes are less than it has (${store.capacity}), and what is beyond would be lost`);
    }
    const resized = store.resize(capacity);
    this.#io.deliver();
    await resized;
    this.#device.config.update((view) => setCapacity(view, store.capacity));
    this.#config = this.#device.config.bytes.slice();
    return { capacity: store.capacity };
  }
}
