// Bytes from the guest that a socket did not take yet. It grows when it must and never beyond the room that the guest was
// promised, so a guest that sends single bytes costs no more than one that sends pages.

import type { Chain } from '@runtime/sdk/virtio';

const SMALLEST = 4096;
const NOTHING = new Uint8Array(0);

export class ByteRing {
  /** Bytes that it holds. */
  length = 0;
  readonly #limit: number;
  #bytes: Uint8Array = NOTHING;
  #start = 0;

  /** @param limit bytes; whoever appends keeps to it */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes over what another ring held. @param content at most as much as the limit */
  restore(content: Uint8Array): void {
    this.#bytes = content.slice();
    this.#start = 0;
    this.length = content.length;
  }

  /** Appends `length` bytes of the readable part of `chain`, from its byte `skip` on. */
  appendFrom(chain: Chain, skip: number, length: number): void {
    this.#reserve(length);
    const capacity = this.#bytes.length;
    const end = (this.#start + this.length) % capacity;
    const first = Math.min(length, capacity - end);
    chain.read(this.#bytes.subarray(end, end + first), skip);
    if (first < length) chain.read(this.#bytes.subarray(0, length - first), skip + first);
    this.length += length;
  }

  /** Copies the oldest bytes to `target`, as many as fit, and leaves them. Returns how many. */
  peek(target: Uint8Array): number {
    const count = Math.min(target.length, this.length);
    const first = Math.min(count, this.#bytes.length - this.#start);
    target.set(this.#bytes.subarray(this.#start, this.#start + first));
    if (first < count) target.set(this.#bytes.subarray(0, count - first), first);
    return count;
  }

  /** Drops the oldest `count` bytes. */
  consume(count: number): void {
    this.length -= count;
    // Most connections are idle most of the time, and then hold no memory.
    if (this.length === 0) this.clear();
    else this.#start = (this.#start + count) % this.#bytes.length;
  }

  clear(): void {
    this.length = 0;
    this.#start = 0;
    this.#bytes = NOTHING;
  }

  /** A copy. */
  toBytes(): Uint8Array {
    const copy = new Uint8Array(this.length);
    this.peek(copy);
    return copy;
  }

  #reserve(more: number): void {
    const needed = this.length + more;
    if (needed > this.#limit) throw new RangeError(`${needed} bytes in a buffer of ${this.#limit}`);
    if (needed <= this.#bytes.length) return;
    let capacity = Math.max(SMALLEST, this.#bytes.length);
    while (capacity < needed) capacity *= 2;
    const bytes = new Uint8Array(Math.min(capacity, this.#limit));
    this.peek(bytes);
    this.#bytes = bytes;
    this.#start = 0;
  }
}
