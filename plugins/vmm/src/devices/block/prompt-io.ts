// Writes that are made at once instead of being handed to io_uring. Most file systems cannot write to the page cache
// without the chance of waiting, so that io_uring wakes a worker thread for each write, which takes several times as long
// as the copy. The copy may as well be made here, as long as the kernel does not make writers wait.

import { rawPwrite, rawPwritev } from '@runtime/sdk/linux';
import type { DeviceIo } from '@runtime/sdk/virtio';
import type { IovecTable } from './iovec-table.ts';

/** Longer ones, in bytes, are left to others: they would keep this thread from its other queues. */
const MAX_BYTES = 2 * 2 ** 20;
/** A write that took longer, in ms, has waited: for a disk that is slower than the guest, or for a block to be read. */
const SLOW_MS = 2;
/** For how long, in ms, nobody waits here any more. */
const BACK_OFF_MS = 100;

export interface PromptIoOptions {
  /** The bytes go through the page cache; otherwise nothing is done here. */
  readonly enabled: boolean;
  /** Where the iovecs of all writes are. */
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

  /** @param io idle */
  constructor(io: DeviceIo, options: PromptIoOptions) {
    this.#io = io;
    this.#options = options;
    this.#tokens = new Int32Array(io.free);
    this.#results = new Float64Array(io.free);
  }

  get inFlight(): number {
    return this.#io.inFlight + this.#tail - this.#head;
  }

  get free(): number {
    return this.#io.free - (this.#tail - this.#head);
  }

  read(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#io.read(fd, address, length, offset, token);
  }

  readv(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#io.readv(fd, iovecs, count, offset, token);
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

  /** Tells the end of writes, and of those that are made meanwhile. Called whenever some may have been made. */
  deliver(): void {
    while (this.#head !== this.#tail) {
      const at = this.#head % this.#tokens.length;
      this.#head += 1;
      this.#options.complete(this.#tokens[at] as number, this.#results[at] as number);
    }
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
