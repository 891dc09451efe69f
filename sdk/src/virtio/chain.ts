// What the driver made available in one go: a list of memory segments, first those to read, then those to write. A queue
// has one Chain and fills it anew with each pop(), so that a request costs no allocation. All of it is copied out of the
// ring and checked: nothing here changes when the guest writes to its descriptors later (the bytes of the segments do).

import type { GuestMemory, MemoryRegion } from './guest-memory.ts';

/** Segments of a chain at most, and what readv(2) takes (IOV_MAX). */
export const CHAIN_MAX: number = 1024;

const TWO_32 = 0x1_0000_0000;

export class Chain {
  /** What to give to push(). */
  head: number = 0;
  /** Segments. None of them is empty. */
  count: number = 0;
  /** How many of them are device-readable: the first ones. */
  readable: number = 0;
  readableBytes: number = 0;
  writableBytes: number = 0;
  /** Host address of each segment. */
  readonly address: Float64Array;
  /** Guest-physical address of each segment. */
  readonly guest: Float64Array;
  readonly length: Uint32Array;
  /** The region that holds all of the segment. */
  readonly region: MemoryRegion[];
  readonly #capacity: number;

  constructor(capacity: number = CHAIN_MAX) {
    this.address = new Float64Array(capacity);
    // One more: where an address is put before it is checked.
    this.guest = new Float64Array(capacity + 1);
    this.length = new Uint32Array(capacity);
    this.region = [];
    this.#capacity = capacity;
  }

  /** For the queue: begins a new chain. */
  clear(head: number): void {
    this.head = head;
    this.count = 0;
    this.readable = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
  }

  /** Adds a segment at the end. `undefined`, or why the chain is not sound. */
  append(memory: GuestMemory, guest: number, length: number, writable: boolean): string | undefined {
    return this.appendDescriptor(memory, (guest % TWO_32) | 0, Math.floor(guest / TWO_32) | 0, length, writable);
  }

  /**
   * As {@link append}, for the queue: the address comes in halves, each as a signed 32-bit integer, since V8 passes those
   * without allocating, and not Numbers above 2^31.
   */
  appendDescriptor(
    memory: GuestMemory,
    low: number,
    high: number,
    length: number,
    writable: boolean,
  ): string | undefined {
    // Tolerated, and left out: its address means nothing.
    if (length === 0) return undefined;
    const i = this.count;
    const guest = (low >>> 0) + (high >>> 0) * TWO_32;
    this.guest[i] = guest;
    const hit = memory.hit;
    const region =
      hit !== undefined && guest >= hit.guestAddress && guest - hit.guestAddress <= hit.size - length
        ? hit
        : memory.locate(this.guest, i, length);
    if (region === undefined) return this.#appendParts(memory, guest, length, writable);
    return this.#put(region, length, writable);
  }

  /** Its guest address is there already, for the same reason. */
  #put(region: MemoryRegion, length: number, writable: boolean): string | undefined {
    const i = this.count;
    if (i === this.#capacity) return 'it has too many segments';
    this.length[i] = length;
    this.address[i] = region.hostAddress + ((this.guest[i] as number) - region.guestAddress);
    this.region[i] = region;
    this.count = i + 1;
    if (writable) {
      this.writableBytes += length;
      return this.writableBytes < TWO_32 ? undefined : 'it has 4 GiB to write or more';
    }
    if (this.readable !== i) return 'a segment to read follows one to write';
    this.readable = i + 1;
    this.readableBytes += length;
    return this.readableBytes < TWO_32 ? undefined : 'it has 4 GiB to read or more';
  }

  /** Regions may be neighbours for the guest (a large memory is mapped in parts), but they are not here. */
  #appendParts(memory: GuestMemory, guest: number, length: number, writable: boolean): string | undefined {
    let at = guest;
    let left = length;
    while (left > 0) {
      const region = memory.at(at);
      if (region === undefined) return 'a segment is not in the memory of the guest';
      const part = Math.min(left, region.size - (at - region.guestAddress));
      this.guest[this.count] = at;
      const why = this.#put(region, part, writable);
      if (why !== undefined) return why;
      at += part;
      left -= part;
    }
    return undefined;
  }

  /** Copies from the readable part, from its byte `skip` on. Returns how many bytes there were. */
  read(target: Uint8Array, skip: number = 0): number {
    let done = 0;
    let from = skip;
    for (let i = 0; i < this.readable && done < target.length; i += 1) {
      const length = this.length[i] as number;
      if (from < length) {
        const bytes = Math.min(length - from, target.length - done);
        const region = this.region[i] as MemoryRegion;
        const offset = (this.guest[i] as number) - region.guestAddress + from;
        copy(region.u8, offset, target, done, bytes);
        done += bytes;
        from = 0;
      } else from -= length;
    }
    return done;
  }

  /** Copies into the writable part, from its byte `skip` on. Returns how many bytes found room. */
  write(source: Uint8Array, skip: number = 0): number {
    let done = 0;
    let from = skip;
    for (let i = this.readable; i < this.count && done < source.length; i += 1) {
      const length = this.length[i] as number;
      if (from < length) {
        const bytes = Math.min(length - from, source.length - done);
        const region = this.region[i] as MemoryRegion;
        const offset = (this.guest[i] as number) - region.guestAddress + from;
        copy(source, done, region.u8, offset, bytes);
        done += bytes;
        from = 0;
      } else from -= length;
    }
    return done;
  }

  /** A byte of the readable part; NaN past its end. */
  readU8(at: number): number {
    if (at < 0) return Number.NaN;
    let from = at;
    for (let i = 0; i < this.readable; i += 1) {
      const length = this.length[i] as number;
      if (from < length) {
        const region = this.region[i] as MemoryRegion;
        return region.u8[(this.guest[i] as number) - region.guestAddress + from] as number;
      }
      from -= length;
    }
    return Number.NaN;
  }

  /** Little-endian, as all here. NaN when not all of it is in the readable part. */
  readU16(at: number): number {
    return this.readU8(at) + this.readU8(at + 1) * 0x100;
  }

  readU32(at: number): number {
    // Most headers are aligned and in the first segment.
    if (this.readable > 0 && at >= 0 && at + 4 <= (this.length[0] as number)) {
      const region = this.region[0] as MemoryRegion;
      const offset = (this.guest[0] as number) - region.guestAddress + at;
      if (offset % 4 === 0) return region.u32[offset / 4] as number;
    }
    return this.readU16(at) + this.readU16(at + 2) * 0x1_0000;
  }

  /** NaN also for 2^53 and more, which a Number would not hold exactly. */
  readU64(at: number): number {
    const high = this.readU32(at + 4);
    return high < 0x20_0000 ? this.readU32(at) + high * TWO_32 : Number.NaN;
  }

  /** Into the writable part. False when it is past its end, and then nothing is written. */
  writeU8(at: number, value: number): boolean {
    if (at < 0) return false;
    let from = at;
    for (let i = this.readable; i < this.count; i += 1) {
      const length = this.length[i] as number;
      if (from < length) {
        const region = this.region[i] as MemoryRegion;
        region.u8[(this.guest[i] as number) - region.guestAddress + from] = value;
        return true;
      }
      from -= length;
    }
    return false;
  }

  writeU16(at: number, value: number): boolean {
    if (at < 0 || at + 2 > this.writableBytes) return false;
    this.writeU8(at, value & 0xff);
    return this.writeU8(at + 1, (value >>> 8) & 0xff);
  }

  writeU32(at: number, value: number): boolean {
    if (at < 0 || at + 4 > this.writableBytes) return false;
    this.writeU16(at, value & 0xffff);
    return this.writeU16(at + 2, value >>> 16);
  }

  /** `value`: below 2^53. */
  writeU64(at: number, value: number): boolean {
    if (at < 0 || at + 8 > this.writableBytes) return false;
    this.writeU32(at, value % TWO_32);
    return this.writeU32(at + 4, Math.floor(value / TWO_32));
  }

  /** The bytes of a segment themselves, which the guest can change at any time. Allocates a view. */
  bytes(segment: number): Uint8Array<ArrayBuffer> {
    const region = this.region[segment];
    if (region === undefined || segment >= this.count) return new Uint8Array(0);
    const offset = (this.guest[segment] as number) - region.guestAddress;
    return region.u8.subarray(offset, offset + (this.length[segment] as number));
  }

  /**
   * Writes struct iovec[] for `length` bytes of a part from its byte `skip` on: four u32 each (address, then length, low
   * half first), beginning at index `at` of `into`. Returns how many, or −1 when the part is shorter or `into` is full.
   */
  iovecs(part: 'readable' | 'writable', skip: number, length: number, into: Uint32Array, at: number): number {
    const end = part === 'readable' ? this.readable : this.count;
    let from = skip;
    let left = length;
    let out = at;
    for (let i = part === 'readable' ? 0 : this.readable; i < end && left > 0; i += 1) {
      const bytes = this.length[i] as number;
      if (from >= bytes) {
        from -= bytes;
        continue;
      }
      if (out + 4 > into.length) return -1;
      const address = (this.address[i] as number) + from;
      const take = Math.min(bytes - from, left);
      into[out] = address % TWO_32;
      into[out + 1] = address / TWO_32;
      into[out + 2] = take;
      into[out + 3] = 0;
      out += 4;
      left -= take;
      from = 0;
    }
    return left > 0 ? -1 : (out - at) / 4;
  }
}

/** Below this a loop is quicker than the two views of subarray(). */
const SMALL = 64;

function copy(source: Uint8Array, from: number, target: Uint8Array, to: number, bytes: number): void {
  if (bytes > SMALL) target.set(source.subarray(from, from + bytes), to);
  else for (let i = 0; i < bytes; i += 1) target[to + i] = source[from + i] as number;
}
