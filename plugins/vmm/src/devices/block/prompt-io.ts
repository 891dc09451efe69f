// Which thread copies between the page cache and the memory of the guest.
//
// Writes are made here and at once. Most file systems cannot write to the page cache without the chance of waiting, so that
// io_uring wakes a worker thread for each write, which takes several times as long as the copy. The copy may as well be made
// here, as long as the kernel does not make writers wait. More threads would not be quicker: writers of one file take turns.
//
// Readers do not. Of several long reads that are asked for together, all but the last are left to worker threads of the
// kernel, and the last one is copied here meanwhile, where the file system can do that.

import { rawPwrite, rawPwritev } from '@runtime/sdk/linux';
import type { DeviceIo } from '@runtime/sdk/virtio';
import type { IovecTable } from './iovec-table.ts';

/** Longer ones, in bytes, are left to others: they would keep this thread from its other queues. */
const MAX_BYTES = 2 * 2 ** 20;
/** From here on, in bytes, the copy of a read takes longer than to wake another thread for it. */
const LONG_READ = 128 * 2 ** 10;
/** A write that took longer, in ms, has waited: for a disk that is slower than the guest, or for a block to be read. */
const SLOW_MS = 2;
/** For how long, in ms, nobody waits here any more. */
const BACK_OFF_MS = 100;

/** Kinds of reads that wait. */
const NONE = 0;
const READ = 1;
const READV = 2;

export interface PromptIoOptions {
  /** The bytes go through the page cache; otherwise nothing is done here. */
  readonly enabled: boolean;
  /** io_uring copies from the page cache in the thread that asks for it. */
  readonly readsAtOnce: boolean;
  /** Where the iovecs of all operations are. */
  readonly iovecs: IovecTable;
  complete(token: number, result: number): void;
}

export class PromptIo implements DeviceIo {
  readonly #io: DeviceIo;
  readonly #options: PromptIoOptions;
  #notBefore = 0;
  /** Writes that are made and not told yet. */
  readonly #tokens: Int32Array;
  readonly #results: Float64Array;
  #head = 0;
  #tail = 0;
  /** The kind of a long read that waits to learn whether it is the last one, and its arguments in their order. */
  #held = NONE;
  readonly #heldArguments = new Float64Array(5);

  /** @param io idle */
  constructor(io: DeviceIo, options: PromptIoOptions) {
    this.#io = io;
    this.#options = options;
    this.#tokens = new Int32Array(io.free);
    this.#results = new Float64Array(io.free);
  }

  get inFlight(): number {
    return this.#io.inFlight + this.#own;
  }

  get free(): number {
    return this.#io.free - this.#own;
  }

  read(fd: number, address: number, length: number, offset: number, token: number): void {
    if (this.#isLong(length)) this.#hold(READ, fd, address, length, offset, token);
    else this.#io.read(fd, address, length, offset, token);
  }

  readv(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    const isLong = this.#isLong(this.#options.iovecs.bytesAt(iovecs, count));
    if (isLong) this.#hold(READV, fd, iovecs, count, offset, token);
    else this.#io.readv(fd, iovecs, count, offset, token);
  }

  write(fd: number, address: number, length: number, offset: number, token: number): void {
    const now = this.#startOf(length);
    if (now < 0) this.#io.write(fd, address, length, offset, token);
    else this.#ended(token, rawPwrite(fd, address, length, offset), now);
  }

  writev(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    const now = this.#startOf(this.#options.iovecs.bytesAt(iovecs, count));
    if (now < 0) this.#io.writev(fd, iovecs, count, offset, token);
    else this.#ended(token, rawPwritev(fd, iovecs, count, offset), now);
  }

  fdatasync(fd: number, token: number): void {
    this.#io.fdatasync(fd, token);
  }

  fallocate(fd: number, mode: number, offset: number, length: number, token: number): void {
    this.#io.fallocate(fd, mode, offset, length, token);
  }

  /**
   * Tells the end of writes, and of those that are made meanwhile; no read follows those that were asked for. Called whenever
   * something may have been asked for.
   */
  deliver(): void {
    while (this.#head !== this.#tail) {
      const at = this.#head % this.#tokens.length;
      this.#head += 1;
      this.#options.complete(this.#tokens[at] as number, this.#results[at] as number);
    }
    this.#beginHeld(!this.#options.readsAtOnce);
  }

  /** Operations that only this knows of. */
  get #own(): number {
    return this.#tail - this.#head + (this.#held === NONE ? 0 : 1);
  }

  #isLong(length: number): boolean {
    return length >= LONG_READ && this.#options.enabled;
  }

  #hold(kind: number, fd: number, address: number, length: number, offset: number, token: number): void {
    this.#beginHeld(true);
    this.#held = kind;
    const held = this.#heldArguments;
    held[0] = fd;
    held[1] = address;
    held[2] = length;
    held[3] = offset;
    held[4] = token;
  }

  #beginHeld(aside: boolean): void {
    const kind = this.#held;
    if (kind === NONE) return;
    this.#held = NONE;
    const held = this.#heldArguments;
    const fd = held[0] as number;
    const address = held[1] as number;
    const length = held[2] as number;
    const offset = held[3] as number;
    const token = held[4] as number;
    if (kind === READ) this.#io.read(fd, address, length, offset, token, aside);
    else this.#io.readv(fd, address, length, offset, token, aside);
  }

  /** When a write begins, or −1 when it is not to be made here. */
  #startOf(length: number): number {
    if (!this.#options.enabled || length > MAX_BYTES || this.free <= 0) return -1;
    const now = performance.now();
    return now < this.#notBefore ? -1 : now;
  }

  #ended(token: number, result: number, startedAt: number): void {
    const now = performance.now();
    if (now - startedAt > SLOW_MS) this.#notBefore = now + BACK_OFF_MS;
    const at = this.#tail % this.#tokens.length;
    this.#tail += 1;
    this.#tokens[at] = token;
    this.#results[at] = result;
  }
}
