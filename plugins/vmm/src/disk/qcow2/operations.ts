// The operations of requests: begun, begun anew when the kernel says so, and gone on with when only a part was done.

import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE } from '@runtime/sdk/linux';
import type { StoreContext } from '../../devices/block/store.ts';
import type { Buffers } from './buffers.ts';
import { Phase, type Request } from './request.ts';
import type { SyncCycle } from './sync-cycle.ts';
import { advanceWindow, closeWindow, copyTo, fillFrom, openWindow } from './window.ts';

export const EIO = 5;
const EINTR = 4;
const EAGAIN = 11;
const MAX_RETRIES = 100;

/** Whether the kernel asks for the operation to be begun anew. @param result a negative errno */
export function isAgain(result: number): boolean {
  return result === -EINTR || result === -EAGAIN;
}

export interface OperationsOptions {
  readonly context: StoreContext;
  readonly buffers: Buffers;
  readonly cycle: SyncCycle;
  /** Of the image. */
  readonly fd: number;
  /** All of the operation is done; of an fallocate also when it failed, see `request.result`. */
  finished(request: Request): void;
  failed(request: Request, errno: number): void;
}

export class Operations {
  readonly #context: StoreContext;
  readonly #buffers: Buffers;
  readonly #cycle: SyncCycle;
  readonly #fd: number;
  readonly #finished: (request: Request) => void;
  readonly #failed: (request: Request, errno: number) => void;

  constructor(options: OperationsOptions) {
    this.#context = options.context;
    this.#buffers = options.buffers;
    this.#cycle = options.cycle;
    this.#fd = options.fd;
    this.#finished = options.finished;
    this.#failed = options.failed;
  }

  /** Reads or writes the next `length` bytes of the request at `host` of `fd`, from or to guest memory. */
  transfer(request: Request, phase: Phase, fd: number, host: number, length: number): void {
    request.phase = phase;
    request.fd = fd;
    request.host = host;
    request.address = 0;
    request.length = openWindow(this.#context.iovecs, request, length);
    request.rest = request.length;
    request.retries = 0;
    this.#issue(request);
  }

  /** Reads or writes `length` bytes of memory of ours. `request.length` is the caller's. */
  transferOwn(request: Request, phase: Phase, fd: number, host: number, address: number, length: number): void {
    request.phase = phase;
    request.fd = fd;
    request.host = host;
    request.address = address;
    request.rest = length;
    request.retries = 0;
    this.#issue(request);
  }

  /** Lets others go on, and the request later. */
  pause(request: Request): void {
    this.transferOwn(request, Phase.pause, this.#buffers.zeroFd, 0, this.#buffers.address(this.#buffers.scratch), 1);
  }

  /** Fills guest memory from a file in memory. */
  fill(request: Request, length: number, fd: number, position: number): void {
    const bytes = fillFrom(this.#context.iovecs, request, length, fd, position);
    if (bytes < 0) throw Object.assign(new Error('guest memory was not filled'), { errno: bytes });
    request.offset += bytes;
    request.left -= bytes;
  }

  /** Copies guest memory into the buffer of the request. */
  copyIn(request: Request, length: number, within: number): void {
    const position = this.#buffers.position(request.slot) + within;
    const bytes = copyTo(this.#context.iovecs, request, length, this.#buffers.fd, position);
    if (bytes !== length)
      throw Object.assign(new Error('guest memory was not copied'), { errno: Math.min(bytes, -EIO) });
  }

  /** fallocate(2) that makes a range of the image's file read as zeroes. */
  zeroRange(request: Request, punch: boolean, host: number, length: number): void {
    request.phase = Phase.zeroRange;
    request.fd = this.#fd;
    request.host = host;
    request.rest = length;
    request.length = length;
    request.retries = 0;
    this.#cycle.enter(request);
    const mode = (punch ? FALLOC_PUNCH_HOLE : FALLOC_ZERO_RANGE) | FALLOC_KEEP_SIZE;
    this.#context.io.fallocate(this.#fd, mode, host, length, request.id);
  }

  #issue(request: Request): void {
    const { io, iovecs } = this.#context;
    const { id, fd, host, address, rest, phase } = request;
    const writes = phase !== Phase.read && phase !== Phase.copyOut && phase !== Phase.pause;
    this.#cycle.enter(request);
    if (address !== 0) {
      if (writes) io.write(fd, address, rest, host, id);
      else io.read(fd, address, rest, host, id);
    } else if (request.window === 1) {
      if (writes) io.write(fd, iovecs.base(id, request.first), rest, host, id);
      else io.read(fd, iovecs.base(id, request.first), rest, host, id);
    } else if (writes) io.writev(fd, iovecs.address(id, request.first), request.window, host, id);
    else io.readv(fd, iovecs.address(id, request.first), request.window, host, id);
  }

  /** The operation of the request has ended: bytes, or a negative errno. */
  ended(request: Request, result: number): void {
    this.#cycle.leave(request);
    if (result < 0) {
      const again = isAgain(result) && request.retries < MAX_RETRIES;
      request.retries += 1;
      if (request.phase === Phase.zeroRange) {
        request.result = result;
        this.#finished(request);
      } else if (again) this.#issue(request);
      else this.#failed(request, result);
      return;
    }
    if (request.phase === Phase.zeroRange || request.phase === Phase.pause) {
      request.result = 0;
      this.#finished(request);
      return;
    }
    let bytes = result;
    if (bytes === 0 && request.rest > 0) {
      bytes = this.#pastEnd(request);
      if (bytes < 0) {
        this.#failed(request, bytes);
        return;
      }
    }
    request.rest -= bytes;
    if (request.rest > 0) {
      request.host += bytes;
      if (request.address !== 0) request.address += bytes;
      else advanceWindow(this.#context.iovecs, request, bytes);
      this.#issue(request);
      return;
    }
    if (request.address === 0) closeWindow(this.#context.iovecs, request);
    this.#finished(request);
  }

  /** Reading goes on with zeroes where a file ends. @returns bytes, or a negative errno */
  #pastEnd(request: Request): number {
    if (request.phase === Phase.copyOut) {
      const from = request.address - this.#buffers.address(request.slot);
      this.#buffers.bytes(request.slot).fill(0, from, from + request.rest);
      return request.rest;
    }
    if (request.phase !== Phase.read) return -EIO;
    if (request.fd === this.#buffers.zeroFd) return -EIO;
    // The same operation on a file that has nothing but zeroes.
    request.fd = this.#buffers.zeroFd;
    request.host = 0;
    return 0;
  }
}
