// Stable memory with a struct iovec[] for each request in flight. The kernel reads it after the call that names it has
// returned, so that it cannot be memory of V8.

import { type Mapping, mapAnonymous } from '@runtime/sdk/linux';

/** struct iovec: void *base, size_t length; 64-bit. */
const IOVEC_BYTES = 16;
const IOVEC_WORDS = IOVEC_BYTES / 4;
const TWO_32 = 2 ** 32;

export class IovecTable implements Disposable {
  /** iovecs for each request. */
  readonly perRequest: number;
  /** The table as words: base low, base high, length low, length high. */
  readonly words: Uint32Array;
  readonly #mapping: Mapping;
  readonly #base: number;
  readonly #stride: number;

  /** Pages that are never used cost nothing. */
  constructor(requests: number, perRequest: number) {
    this.perRequest = perRequest;
    this.#stride = perRequest * IOVEC_BYTES;
    this.#mapping = mapAnonymous(requests * this.#stride);
    this.#base = this.#mapping.address;
    this.words = new Uint32Array(this.#mapping.buffer);
  }

  /** Host address of an iovec of the request. */
  address(request: number, index: number): number {
    return this.#base + request * this.#stride + index * IOVEC_BYTES;
  }

  /** Index into `words` of an iovec of the request. */
  at(request: number, index: number): number {
    return (request * this.perRequest + index) * IOVEC_WORDS;
  }

  base(request: number, index: number): number {
    const at = this.at(request, index);
    return (this.words[at] as number) + (this.words[at + 1] as number) * TWO_32;
  }

  /** Bytes; below 2^32, as descriptors have no longer ones. */
  length(request: number, index: number): number {
    return this.words[this.at(request, index) + 2] as number;
  }

  /** Bytes of `count` iovecs at that host address; Infinity when they are not in the table. */
  bytesAt(address: number, count: number): number {
    const { words } = this;
    const first = (address - this.#base) / 4;
    if (first < 0 || first + count * IOVEC_WORDS > words.length) return Number.POSITIVE_INFINITY;
    let bytes = 0;
    for (let i = 0; i < count; i++) bytes += words[first + i * IOVEC_WORDS + 2] as number;
    return bytes;
  }

  set(request: number, index: number, base: number, length: number): void {
    const at = this.at(request, index);
    const { words } = this;
    words[at] = base >>> 0;
    words[at + 1] = base / TWO_32;
    words[at + 2] = length;
    words[at + 3] = 0;
  }

  /**
   * Takes `bytes` away from iovecs `first` to `count` − 1, after a short read or write.
   * @returns how many iovecs are wholly gone; the one after them begins where the rest does
   */
  advance(request: number, first: number, count: number, bytes: number): number {
    let index = first;
    let left = bytes;
    while (index < count && left > 0) {
      const length = this.length(request, index);
      if (length > left) {
        this.set(request, index, this.base(request, index) + left, length - left);
        break;
      }
      left -= length;
      index += 1;
    }
    return index - first;
  }

  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }
}
