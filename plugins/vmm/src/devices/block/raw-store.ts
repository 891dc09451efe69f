// A disk whose bytes are those of a file or block device, one to one: guest memory is read and written by the kernel
// itself, each request being one operation as long as all goes well.

import { fstatSync, ftruncateSync } from 'node:fs';
import { blockDeviceSize, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE } from '@runtime/sdk/linux';
import { errors } from '../../errors.ts';
import { SECTOR } from './protocol.ts';
import type { BlockStore, StoreContext } from './store.ts';
import { ZeroSource } from './zero-source.ts';

// errno(3)
const EINTR = 4;
const EIO = 5;
const EAGAIN = 11;
const EINVAL = 22;
const ENOSYS = 38;
const EOPNOTSUPP = 95;

/** How often an operation is begun anew when the kernel says EAGAIN or EINTR. */
const MAX_RETRIES = 100;

/** What a request is at. `padding`: reading zeroes for what is past the end of the file. */
const Step = { read: 0, padding: 1, write: 2, flush: 3, discard: 4, punch: 5, zero: 6, writeZeroes: 7 } as const;

/** Bytes. @param fd of a regular file or a block device */
export function rawCapacity(fd: number, blockSize: number): number {
  const stats = fstatSync(fd);
  const bytes = stats.isFile() ? stats.size : blockDeviceSize(fd);
  // What is left of a last sector reads as zeroes up to its end. A block that is not whole cannot be offered.
  return blockSize === SECTOR ? Math.ceil(bytes / SECTOR) * SECTOR : Math.floor(bytes / blockSize) * blockSize;
}

export class RawStore implements BlockStore {
  #capacity: number;
  readonly #fd: number;
  readonly #blockSize: number;
  /** The bytes go through the page cache of the host. */
  readonly #isCached: boolean;
  readonly #context: StoreContext;
  readonly #zeroes = new ZeroSource();
  #canPunch = true;
  #canZero = true;
  /** A failed fdatasync(2) loses the dirty pages, and the next one would succeed. */
  #lost = 0;

  readonly #step: Uint8Array;
  readonly #offset: Float64Array;
  /** Bytes that are left to do. */
  readonly #left: Float64Array;
  /** iovecs that are done, and how many there are. */
  readonly #first: Uint16Array;
  readonly #count: Uint16Array;
  readonly #retries: Uint8Array;

  /** @param fd stays the caller's */
  constructor(fd: number, options: { readonly blockSize: number; readonly direct: boolean }, context: StoreContext) {
    this.#fd = fd;
    this.#blockSize = options.blockSize;
    this.#isCached = !options.direct;
    this.#capacity = rawCapacity(fd, options.blockSize);
    this.#context = context;
    const { requests } = context;
    this.#step = new Uint8Array(requests);
    this.#offset = new Float64Array(requests);
    this.#left = new Float64Array(requests);
    this.#first = new Uint16Array(requests);
    this.#count = new Uint16Array(requests);
    this.#retries = new Uint8Array(requests);
  }

  get capacity(): number {
    return this.#capacity;
  }

  read(request: number, count: number, offset: number, length: number): void {
    this.#begin(request, Step.read, count, offset, length);
  }

  write(request: number, count: number, offset: number, length: number): void {
    this.#begin(request, Step.write, count, offset, length);
  }

  flush(request: number): void {
    if (this.#lost !== 0) this.#context.done(request, this.#lost);
    else this.#begin(request, Step.flush, 0, 0, 1);
  }

  discard(request: number, offset: number, length: number): void {
    if (this.#canPunch) this.#begin(request, Step.discard, 0, offset, length);
    else this.#context.done(request, 0);
  }

  writeZeroes(request: number, offset: number, length: number, mayUnmap: boolean): void {
    if (mayUnmap && this.#canPunch) this.#begin(request, Step.punch, 0, offset, length);
    else if (this.#canZero) this.#begin(request, Step.zero, 0, offset, length);
    else this.#begin(request, Step.writeZeroes, 0, offset, length);
  }

  complete(request: number, result: number): void {
    const step = this.#step[request] as number;
    if (step <= Step.write && result === this.#left[request]) this.#context.done(request, 0);
    else if (result < 0) this.#failed(request, -result);
    else if (step <= Step.write || step === Step.writeZeroes) this.#advance(request, result);
    else this.#context.done(request, 0);
  }

  resize(capacity: number): void {
    const stats = fstatSync(this.#fd);
    if (stats.isFile()) ftruncateSync(this.#fd, capacity);
    const now = rawCapacity(this.#fd, this.#blockSize);
    if (now !== capacity) throw errors.VMM_ERR_DISK_RESIZE({ details: { capacity, why: `it has ${now} bytes` } });
    this.#capacity = now;
  }

  settle(): void {}

  [Symbol.dispose](): void {
    this.#zeroes[Symbol.dispose]();
  }

  #begin(request: number, step: number, count: number, offset: number, length: number): void {
    if (length === 0) {
      this.#context.done(request, 0);
      return;
    }
    this.#step[request] = step;
    this.#offset[request] = offset;
    this.#left[request] = length;
    this.#first[request] = 0;
    this.#count[request] = count;
    this.#retries[request] = 0;
    this.#issue(request);
  }

  #issue(request: number): void {
    const { io } = this.#context;
    const fd = this.#fd;
    const offset = this.#offset[request] as number;
    const left = this.#left[request] as number;
    switch (this.#step[request]) {
      case Step.read:
        this.#read(request, fd, offset);
        return;
      case Step.padding:
        this.#read(request, this.#zeroes.fd, 0);
        return;
      case Step.write: {
        const { iovecs } = this.#context;
        const first = this.#first[request] as number;
        const count = (this.#count[request] as number) - first;
        if (count === 1) io.write(fd, iovecs.base(request, first), left, offset, request);
        else io.writev(fd, iovecs.address(request, first), count, offset, request);
        return;
      }
      case Step.flush:
        io.fdatasync(fd, request);
        return;
      case Step.discard:
      case Step.punch:
        io.fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, left, request);
        return;
      case Step.zero:
        io.fallocate(fd, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, offset, left, request);
        return;
      default: {
        const { iovecs } = this.#context;
        const count = this.#zeroes.fill(iovecs, request, left);
        io.writev(fd, iovecs.address(request, 0), count, offset, request);
      }
    }
  }

  #read(request: number, fd: number, offset: number): void {
    const { io, iovecs } = this.#context;
    const first = this.#first[request] as number;
    const count = (this.#count[request] as number) - first;
    if (count === 1) io.read(fd, iovecs.base(request, first), this.#left[request] as number, offset, request);
    else io.readv(fd, iovecs.address(request, first), count, offset, request);
  }

  /** Part of the request is done: goes on with the rest. */
  #advance(request: number, bytes: number): void {
    if (bytes === 0) {
      if (this.#step[request] !== Step.read) {
        this.#context.done(request, -EIO);
        return;
      }
      this.#step[request] = Step.padding;
    }
    const left = (this.#left[request] as number) - bytes;
    this.#left[request] = left;
    if (left === 0) {
      this.#context.done(request, 0);
      return;
    }
    this.#offset[request] = (this.#offset[request] as number) + bytes;
    if (this.#step[request] !== Step.writeZeroes) {
      const first = this.#first[request] as number;
      this.#first[request] =
        first + this.#context.iovecs.advance(request, first, this.#count[request] as number, bytes);
    }
    this.#issue(request);
  }

  #failed(request: number, errno: number): void {
    const retries = this.#retries[request] as number;
    if ((errno === EINTR || errno === EAGAIN) && retries < MAX_RETRIES) {
      this.#retries[request] = retries + 1;
      this.#issue(request);
      return;
    }
    const step = this.#step[request];
    // Past the page cache, what comes after a read that ended within a sector cannot be asked for: it was the end.
    if (errno === EINVAL && step === Step.read && (this.#offset[request] as number) % SECTOR !== 0) {
      this.#step[request] = Step.padding;
      this.#issue(request);
      return;
    }
    if (errno === EOPNOTSUPP || errno === ENOSYS) {
      if (step === Step.discard) {
        this.#canPunch = false;
        this.#context.done(request, 0);
        return;
      }
      if (step === Step.punch || step === Step.zero) {
        if (step === Step.punch) this.#canPunch = false;
        else this.#canZero = false;
        this.#step[request] = this.#canZero ? Step.zero : Step.writeZeroes;
        this.#issue(request);
        return;
      }
    }
    if (step === Step.flush && this.#isCached) this.#lost = -errno;
    this.#context.done(request, -errno);
  }
}
