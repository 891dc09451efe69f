// The last bytes of an endless stream, by their place in it.

export interface Slice {
  readonly bytes: Uint8Array;
  /** Place of the byte after the last. */
  readonly next: number;
  /** Bytes that were asked for and are no longer kept. */
  readonly missed: number;
}

export class ByteRing {
  readonly #bytes: Uint8Array;
  #end = 0;

  /** @param capacity bytes that are kept */
  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
  }

  /** Place of the byte that comes next; below 2^53 for some millennia of a serial line. */
  get end(): number {
    return this.#end;
  }

  get start(): number {
    return Math.max(0, this.#end - this.#bytes.length);
  }

  push(bytes: Uint8Array): void {
    const capacity = this.#bytes.length;
    const kept = bytes.length > capacity ? bytes.subarray(bytes.length - capacity) : bytes;
    this.#end += bytes.length - kept.length;
    const at = this.#end % capacity;
    const first = Math.min(kept.length, capacity - at);
    this.#bytes.set(kept.subarray(0, first), at);
    this.#bytes.set(kept.subarray(first), 0);
    this.#end += kept.length;
  }

  /** A copy of what is kept from `from` on. A place that is yet to come is one of an earlier ring: all there is. */
  read(from: number): Slice {
    const begin = from > this.#end ? this.start : Math.max(from, this.start);
    const length = this.#end - begin;
    const bytes = new Uint8Array(length);
    const capacity = this.#bytes.length;
    const at = begin % capacity;
    const first = Math.min(length, capacity - at);
    bytes.set(this.#bytes.subarray(at, at + first));
    bytes.set(this.#bytes.subarray(0, length - first), first);
    return { bytes, next: this.#end, missed: Math.max(0, begin - from) };
  }
}
