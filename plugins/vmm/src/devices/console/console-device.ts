// Bytes between the guest's console and two descriptors of the runtime. Neither side waits with a buffer of the guest in
// its hands: what the host does not take is copied, and input is read only when the guest has room.

import {
  copyMemory,
  ERRNO,
  isNonBlocking,
  type Mapping,
  mapAnonymous,
  rawRead,
  rawWrite,
  type Watch,
  watch,
} from '@runtime/sdk/linux';
import type { Chain, DeviceContext, DeviceInstance, DeviceStats, Virtqueue } from '@runtime/sdk/virtio';
import { errors } from '../../errors.ts';
import { type ConsoleOptions, MAX_SIZE } from './options.ts';

const RX = 0;
/** Input read ahead of the guest. */
const INPUT_BYTES = 4096;
/** Of the guest's output that the host has not taken; a buffer of a driver is no longer than a page. */
const OWED_BYTES = 64 * 1024;
/** Output for one turn. */
const TURN_BYTES = 256 * 1024;
const SIZE = { columns: 0, rows: 2 } as const;

export interface ConsoleState {
  /** Input that the guest has not got, and output that the host has not. */
  readonly input: Uint8Array;
  readonly owed: Uint8Array;
}

interface ConsoleStats extends DeviceStats {
  in: number;
  out: number;
  /** Bytes of output that nobody could be given. */
  dropped: number;
}

export class ConsoleDevice implements DeviceInstance<ConsoleState> {
  readonly #device: DeviceContext<ConsoleOptions, ConsoleState>;
  readonly #stats: ConsoleStats;
  readonly #in: number | undefined;
  readonly #out: number;
  readonly #memory: Mapping;
  readonly #bytes: Uint8Array;
  /** Input at 0: bytes `#inFrom` to `#inTo`. Output behind it: `#owedFrom` to `#owedTo`. */
  #inFrom = 0;
  #inTo = 0;
  #owedFrom = 0;
  #owedTo = 0;
  #config: Uint8Array;
  #inWatch: Watch | undefined;
  #outWatch: Watch | undefined;
  #outGone = false;

  constructor(device: DeviceContext<ConsoleOptions, ConsoleState>) {
    const { in: input, out } = device.fds;
    if (out === undefined) throw refuse('there is no descriptor "out"');
    for (const fd of [out, ...(input === undefined ? [] : [input])]) {
      if (!isNonBlocking(fd)) throw refuse(`descriptor ${fd} blocks, and would stop the device with it`);
    }
    this.#device = device;
    this.#stats = Object.assign(device.stats, { in: 0, out: 0, dropped: 0, ...device.stats });
    this.#in = input;
    this.#out = out;
    this.#memory = mapAnonymous(INPUT_BYTES + OWED_BYTES);
    this.#bytes = new Uint8Array(this.#memory.buffer);
    this.#config = device.config.bytes.slice();
    const { previous } = device;
    if (previous === undefined) return;
    this.#bytes.set(previous.state.input);
    this.#inTo = previous.state.input.length;
    this.#bytes.set(previous.state.owed, INPUT_BYTES);
    this.#owedTo = previous.state.owed.length;
    if (this.#owedTo > 0) this.#waitWritable();
  }

  process(queue: Virtqueue): void {
    if (queue.index === RX) this.#receive(queue);
    else this.#send(queue);
  }

  started({ index }: Virtqueue): void {
    if (index !== RX || this.#in === undefined || this.#inWatch !== undefined) return;
    this.#inWatch = watch(this.#in, {}, () => this.#read());
    if (this.#inFrom === this.#inTo) this.#inWatch.setInterest({ readable: true });
  }

  stopped(index: number): void {
    if (index !== RX) return;
    this.#inWatch?.[Symbol.dispose]();
    this.#inWatch = undefined;
  }

  configWritten(): void {
    this.#device.config.bytes.set(this.#config);
  }

  handle(method: string, params: unknown): unknown {
    if (method !== 'resize') throw refuse(`request "${method}" is unknown`);
    const { columns, rows } = (params ?? {}) as { readonly columns?: unknown; readonly rows?: unknown };
    if (!isSize(columns) || !isSize(rows)) throw refuse('columns and rows must be whole numbers from 1 to 65535');
    this.#device.config.update((view) => {
      view.setUint16(SIZE.columns, columns, true);
      view.setUint16(SIZE.rows, rows, true);
    });
    this.#config = this.#device.config.bytes.slice();
    return { columns, rows };
  }

  snapshot(): ConsoleState {
    return {
      input: this.#bytes.slice(this.#inFrom, this.#inTo),
      owed: this.#bytes.slice(INPUT_BYTES + this.#owedFrom, INPUT_BYTES + this.#owedTo),
    };
  }

  dispose(): void {
    this.#inWatch?.[Symbol.dispose]();
    this.#outWatch?.[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }

  // To the guest

  #read(): void {
    if (this.#inFrom < this.#inTo) return;
    // ABI: read(2) writes to memory of ours.
    const result = rawRead(this.#in as number, this.#memory.address, INPUT_BYTES);
    if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) return;
    this.#inWatch?.setInterest({});
    if (result <= 0) {
      // Nobody types any more; the output goes on.
      this.#inWatch?.[Symbol.dispose]();
      return;
    }
    this.#inFrom = 0;
    this.#inTo = result;
    this.#device.wake();
  }

  #receive(queue: Virtqueue): void {
    if (this.#inFrom === this.#inTo) return;
    while (this.#inFrom < this.#inTo) {
      const chain = queue.pop();
      if (chain === undefined) return;
      const bytes = chain.write(this.#bytes.subarray(this.#inFrom, this.#inTo));
      this.#inFrom += bytes;
      this.#stats.in += bytes;
      queue.push(chain.head, bytes);
    }
    this.#inWatch?.setInterest({ readable: true });
  }

  // To the host

  #send(queue: Virtqueue): void {
    for (let budget = TURN_BYTES; budget > 0 && this.#owedFrom === this.#owedTo; ) {
      const chain = queue.pop();
      if (chain === undefined) return;
      this.#pass(chain);
      budget -= Math.max(chain.readableBytes, 64);
      queue.push(chain.head, 0);
    }
  }

  #pass(chain: Chain): void {
    for (let i = 0; i < chain.readable; i++) {
      const address = chain.address[i] as number;
      const length = chain.length[i] as number;
      const sent = this.#owedTo > 0 || this.#outGone ? 0 : this.#write(address, length);
      if (sent < length) this.#owe(address + sent, length - sent);
    }
  }

  /** How many bytes the host took. */
  #write(address: number, length: number): number {
    // ABI: write(2) reads checked guest memory, or ours, during the call.
    const result = rawWrite(this.#out, address, Math.min(length, TURN_BYTES));
    if (result >= 0) {
      this.#stats.out += result;
      return result;
    }
    if (result !== -ERRNO.EAGAIN && result !== -ERRNO.EINTR) this.#outGone = true;
    return 0;
  }

  #owe(address: number, length: number): void {
    const bytes = this.#outGone ? 0 : Math.min(length, OWED_BYTES - this.#owedTo);
    this.#stats.dropped += length - bytes;
    if (bytes === 0) return;
    // ABI: memmove(3) from checked guest memory to memory of ours.
    copyMemory(this.#memory.address + INPUT_BYTES + this.#owedTo, address, bytes);
    this.#owedTo += bytes;
    this.#waitWritable();
  }

  #waitWritable(): void {
    this.#outWatch ??= watch(this.#out, {}, () => this.#drain());
    this.#outWatch.setInterest({ writable: true });
  }

  #drain(): void {
    const left = this.#owedTo - this.#owedFrom;
    this.#owedFrom += this.#write(this.#memory.address + INPUT_BYTES + this.#owedFrom, left);
    if (this.#outGone) {
      this.#stats.dropped += this.#owedTo - this.#owedFrom;
      this.#owedFrom = this.#owedTo;
    }
    if (this.#owedFrom < this.#owedTo) return;
    this.#owedFrom = 0;
    this.#owedTo = 0;
    this.#outWatch?.[Symbol.dispose]();
    this.#outWatch = undefined;
    this.#device.wake();
  }
}

const isSize = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_SIZE;

const refuse = (why: string): Error => errors.VMM_ERR_CONSOLE_PORT({ details: { why } });
