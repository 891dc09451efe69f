// Device I/O over io_uring(7): one system call begins a batch, collects what has ended and, when there is nothing else
// to do, waits for the disk and for the driver at once.

import { availableParallelism } from 'node:os';
import { IORING_FSYNC_DATASYNC, IORING_OP, IOSQE, type IoUring } from '../linux/io-uring.ts';
import type { IoEngine } from './device-io.ts';
import { isWouldRetry } from './device-io-retry.ts';

/** Marks what is the engine's own: a poll on a descriptor that wakes a wait. */
const WAKE = 0x8000_0000;
const POLLIN = 1;
/** Descriptors that are polled for at once; more queues than this still work, woken by the event loop. */
const MAX_WAKE = 64;
/**
 * Operations that worker threads of the kernel carry out for this one at a time: memory is copied no faster by more of
 * them, and what has to wait for a disk is better begun without a thread.
 */
const MAX_ASIDE = availableParallelism() > 1 ? 3 : 0;

export class UringIo implements IoEngine {
  readonly kind = 'io_uring';
  onComplete: (token: number, result: number) => void = () => {};
  onWake: (fd: number) => void = () => {};
  readonly #ring: IoUring;
  readonly #capacity: number;
  #inFlight = 0;
  #completed = 0;
  #aside = 0;
  /** Slot → descriptor that a poll is armed for; −1: free. */
  readonly #armed = new Int32Array(MAX_WAKE).fill(-1);
  readonly #reap: (userData: number, result: number, flags: number, aside: number) => void;

  /** @param capacity operations in flight at once; at most the completion queue of the ring */
  constructor(ring: IoUring, capacity: number) {
    this.#ring = ring;
    this.#capacity = capacity;
    this.#reap = (userData, result, _flags, aside) => {
      if (userData >= WAKE) {
        const fd = this.#armed[userData - WAKE] as number;
        this.#armed[userData - WAKE] = -1;
        if (result > 0) this.onWake(fd);
        return;
      }
      this.#inFlight -= 1;
      this.#aside -= aside;
      this.#completed += 1;
      this.onComplete(userData, result);
    };
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get free(): number {
    return this.#capacity - this.#inFlight;
  }

  read(fd: number, address: number, length: number, offset: number, token: number, aside = false): void {
    if (aside && this.#aside < MAX_ASIDE) this.#beginAside(IORING_OP.read, fd, address, length, offset, token);
    else this.#begin(IORING_OP.read, fd, address, length, offset, 0, token);
  }

  write(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#begin(IORING_OP.write, fd, address, length, offset, 0, token);
  }

  readv(fd: number, iovecs: number, count: number, offset: number, token: number, aside = false): void {
    if (aside && this.#aside < MAX_ASIDE) this.#beginAside(IORING_OP.readv, fd, iovecs, count, offset, token);
    else this.#begin(IORING_OP.readv, fd, iovecs, count, offset, 0, token);
  }

  writev(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#begin(IORING_OP.writev, fd, iovecs, count, offset, 0, token);
  }

  fdatasync(fd: number, token: number): void {
    this.#begin(IORING_OP.fsync, fd, 0, 0, 0, IORING_FSYNC_DATASYNC, token);
  }

  fallocate(fd: number, mode: number, offset: number, length: number, token: number): void {
    // The length travels in the address field and the mode in that of the length, io_uring_enter(2).
    this.#begin(IORING_OP.fallocate, fd, length, mode, offset, 0, token);
  }

  run(waitUs: number, wake: Int32Array, count: number): number {
    this.#completed = 0;
    const wait = waitUs > 0;
    if (wait) this.#arm(wake, count);
    const result = wait ? this.#ring.submit(1, waitUs) : this.#ring.submit(0);
    if (result < 0 && !isWouldRetry(-result)) throw new Error(`io_uring_enter failed with errno ${-result}`);
    this.#ring.reap(this.#reap);
    return this.#completed;
  }

  [Symbol.dispose](): void {
    this.#ring[Symbol.dispose]();
  }

  #beginAside(opcode: number, fd: number, address: number, length: number, offset: number, token: number): void {
    this.#begin(opcode + IOSQE.async, fd, address, length, offset, 0, token, 1);
    this.#aside += 1;
  }

  /** @param aside comes back with the completion: 1 when a worker thread has it */
  #begin(
    opcode: number,
    fd: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    token: number,
    aside = 0,
  ): void {
    if (this.#inFlight >= this.#capacity) throw new Error('more operations begun than free said');
    if (this.#ring.free === 0) this.#ring.submit(0);
    this.#ring.prepare(opcode, fd, address, length, offset, flags, token, aside);
    this.#inFlight += 1;
  }

  /** A poll ends when it is met, so that a kick outside of a wait costs the driver nothing more. */
  #arm(wake: Int32Array, count: number): void {
    const slots = Math.min(count, MAX_WAKE);
    for (let slot = 0; slot < slots; slot++) {
      const fd = wake[slot] as number;
      if (fd < 0 || this.#armed.includes(fd)) continue;
      const freeSlot = this.#armed.indexOf(-1);
      if (freeSlot === -1 || this.#ring.free === 0) return;
      this.#armed[freeSlot] = fd;
      this.#ring.prepare(IORING_OP.pollAdd, fd, 0, 0, 0, POLLIN, WAKE + freeSlot);
    }
  }
}
