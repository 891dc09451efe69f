// What rings of both formats share.

import { errors } from '../errors.ts';
import { signalEventfd } from '../linux/eventfd.ts';
import type { Chain } from './chain.ts';
import type { DirtyLog } from './dirty-log.ts';
import type { MemoryRegion } from './guest-memory.ts';
import type { VirtqueueSetup, VirtqueueStats } from './virtqueue.ts';

/** A part of the ring, found in guest memory: where it begins in the buffer of its region. */
export interface RingPart {
  readonly buffer: ArrayBuffer;
  readonly offset: number;
}

/** @throws SDK_ERR_VIRTIO_QUEUE when it is misaligned or not in one region */
export function findPart(setup: VirtqueueSetup, part: string, address: number, bytes: number, align: number): RingPart {
  const why = (what: string): Error =>
    errors.SDK_ERR_VIRTIO_QUEUE({
      details: { index: setup.index, why: `its ${part} at 0x${address.toString(16)} ${what}` },
    });
  if (!Number.isSafeInteger(address) || address < 0 || address % align !== 0) throw why(`is not aligned to ${align}`);
  const region: MemoryRegion | undefined = setup.memory.find(address, bytes);
  if (region === undefined) throw why(`(${bytes} bytes) is not in one region of the memory of the guest`);
  return { buffer: region.u8.buffer, offset: region.u8.byteOffset + (address - region.guestAddress) };
}

/**
 * Whether an interrupt (or a kick) is due, for both directions. Positions of a ring are counted modulo 2^16. One side
 * has moved from `before` to `now` and published the entries before ≤ i < now; the other has asked: tell me when entry
 * `event` is published. So it is due when `event` is one of them, before ≤ event < now. Written with the distance from
 * `now` backwards, which has no trouble with the wrap: now − event − 1 is 0 for the newest entry and now − before − 1
 * for the oldest one. Comparing the positions themselves would be wrong after each wrap, and "event was passed" alone
 * would interrupt for ever, since each position was passed at some time. virtio 1.2 §2.7.10
 */
export function eventDue(event: number, now: number, before: number): boolean {
  return ((now - event - 1) & 0xffff) < ((now - before) & 0xffff);
}

/** Interrupts, and remembers one that could not be sent. */
export class Interrupter {
  #fd: number;
  /**
   * The driver must be told at the next opportunity, whatever it asked for. After a crash nobody knows whether the last
   * interrupt went out.
   */
  owed: boolean;
  readonly #stats: VirtqueueStats;

  constructor(fd: number, owed: boolean, stats: VirtqueueStats) {
    this.#fd = fd;
    this.owed = owed;
    this.#stats = stats;
  }

  send(): boolean {
    if (this.#fd < 0) {
      this.owed = true;
      return false;
    }
    this.owed = false;
    this.#stats.interrupts += 1;
    signalEventfd(this.#fd);
    return true;
  }

  setFd(fd: number): void {
    this.#fd = fd;
    if (this.owed && fd >= 0) this.send();
  }
}

/** Segments that chains will have been written to, kept until they are pushed: only while there is a dirty log. */
export class WrittenLog {
  readonly log: DirtyLog;
  readonly #segments: (Float64Array | undefined)[] = [];

  constructor(log: DirtyLog) {
    this.log = log;
  }

  remember(token: number, chain: Chain): void {
    const segments = new Float64Array((chain.count - chain.readable) * 2);
    for (let i = chain.readable, at = 0; i < chain.count; i += 1, at += 2) {
      segments[at] = chain.guest[i] as number;
      segments[at + 1] = chain.length[i] as number;
    }
    this.#segments[token] = segments;
  }

  mark(token: number, written: number): void {
    const segments = this.#segments[token];
    this.#segments[token] = undefined;
    if (segments === undefined) return;
    let left = written;
    for (let at = 0; at < segments.length && left > 0; at += 2) {
      const length = Math.min(segments[at + 1] as number, left);
      this.log.mark(segments[at] as number, length);
      left -= length;
    }
  }
}

/** For VIRTIO_F_IN_ORDER: holds chains that are done until all before them are. */
export class CompletionOrder {
  readonly #tokens: Uint16Array;
  readonly #written: Uint32Array;
  readonly #done: Uint8Array;
  #first: number = 0;
  #count: number = 0;

  /** `size`: chains outstanding at most; tokens are below it. */
  constructor(size: number) {
    this.#tokens = new Uint16Array(size);
    this.#written = new Uint32Array(size);
    this.#done = new Uint8Array(size);
  }

  taken(token: number): void {
    this.#tokens[(this.#first + this.#count) % this.#tokens.length] = token;
    this.#count += 1;
    this.#done[token] = 0;
  }

  done(token: number, written: number): void {
    this.#done[token] = 1;
    this.#written[token] = written;
  }

  /** The next one to give back, −1 when it is not done yet. */
  next(): number {
    if (this.#count === 0) return -1;
    const token = this.#tokens[this.#first] as number;
    if (this.#done[token] === 0) return -1;
    this.#first = (this.#first + 1) % this.#tokens.length;
    this.#count -= 1;
    return token;
  }

  written(token: number): number {
    return this.#written[token] as number;
  }
}

/** Addresses are u64; as a Number, exact below 2^53, and no region reaches above that. */
export const TWO_32 = 0x1_0000_0000;

/** Bytes of a descriptor. */
export const DESC_BYTES = 16;
