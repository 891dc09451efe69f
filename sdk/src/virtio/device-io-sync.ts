// Device I/O where the kernel offers no io_uring (old kernels, containers that forbid it): each operation is carried out
// when it is asked for, and told at the next run.

import { waitReadable } from '../linux/poll.ts';
import { rawFallocate, rawFdatasync, rawPread, rawPreadv, rawPwrite, rawPwritev } from '../linux/raw-io.ts';
import type { IoEngine } from './device-io.ts';

export class SyncIo implements IoEngine {
  readonly kind = 'sync';
  onComplete: (token: number, result: number) => void = () => {};
  onWake: (fd: number) => void = () => {};
  readonly #capacity: number;
  /** Pairs of token and result, as a ring. */
  readonly #tokens: Int32Array;
  readonly #results: Float64Array;
  #head = 0;
  #tail = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#tokens = new Int32Array(capacity);
    this.#results = new Float64Array(capacity);
  }

  get inFlight(): number {
    return this.#tail - this.#head;
  }

  get free(): number {
    return this.#capacity - this.inFlight;
  }

  read(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#end(token, rawPread(fd, address, length, offset));
  }

  write(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#end(token, rawPwrite(fd, address, length, offset));
  }

  readv(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#end(token, rawPreadv(fd, iovecs, count, offset));
  }

  writev(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#end(token, rawPwritev(fd, iovecs, count, offset));
  }

  fdatasync(fd: number, token: number): void {
    this.#end(token, rawFdatasync(fd));
  }

  fallocate(fd: number, mode: number, offset: number, length: number, token: number): void {
    this.#end(token, rawFallocate(fd, mode, offset, length));
  }

  run(waitUs: number, wake: Int32Array, count: number): number {
    if (this.inFlight === 0) {
      const ready = waitUs > 0 && count > 0 ? waitReadable(wake.subarray(0, count), Math.ceil(waitUs / 1000)) : -1;
      if (ready >= 0) this.onWake(wake[ready] as number);
      return 0;
    }
    let completed = 0;
    // A completion may begin the next operation; those are told in the next run.
    const end = this.#tail;
    while (this.#head !== end) {
      const at = this.#head % this.#capacity;
      this.#head += 1;
      completed += 1;
      this.onComplete(this.#tokens[at] as number, this.#results[at] as number);
    }
    return completed;
  }

  [Symbol.dispose](): void {}

  #end(token: number, result: number): void {
    if (this.inFlight >= this.#capacity) throw new Error('more operations begun than free said');
    const at = this.#tail % this.#capacity;
    this.#tokens[at] = token;
    this.#results[at] = result;
    this.#tail += 1;
  }
}
