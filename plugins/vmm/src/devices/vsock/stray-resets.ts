// Resets for packets that belong to no connection, waiting for a receive buffer of the guest. Bounded: while it is full,
// the device takes no packets from the guest.

import { TYPE_STREAM } from './packet.ts';

const CAPACITY = 1024;
const WORDS = 3;

export class StrayResets {
  /** How many wait. */
  length = 0;
  readonly #words = new Uint32Array(CAPACITY * WORDS);
  #first = 0;

  get isFull(): boolean {
    return this.length === CAPACITY;
  }

  /** Nothing happens when it is full. */
  add(hostPort: number, guestPort: number, type: number = TYPE_STREAM): void {
    if (this.isFull) return;
    const at = ((this.#first + this.length) % CAPACITY) * WORDS;
    this.#words[at] = hostPort;
    this.#words[at + 1] = guestPort;
    this.#words[at + 2] = type;
    this.length += 1;
  }

  get hostPort(): number {
    return this.#words[this.#first * WORDS] as number;
  }
  get guestPort(): number {
    return this.#words[this.#first * WORDS + 1] as number;
  }
  get type(): number {
    return this.#words[this.#first * WORDS + 2] as number;
  }

  /** The oldest has been sent. */
  shift(): void {
    this.#first = (this.#first + 1) % CAPACITY;
    this.length -= 1;
  }

  clear(): void {
    this.length = 0;
  }

  /** Host port, guest port and type of each. */
  toWords(): Uint32Array {
    const copy = new Uint32Array(this.length * WORDS);
    for (let i = 0; i < this.length; i++) {
      const at = ((this.#first + i) % CAPACITY) * WORDS;
      copy.set(this.#words.subarray(at, at + WORDS), i * WORDS);
    }
    return copy;
  }

  static from(words: Uint32Array): StrayResets {
    const resets = new StrayResets();
    for (let at = 0; at + WORDS <= words.length; at += WORDS)
      resets.add(words[at] as number, words[at + 1] as number, words[at + 2] as number);
    return resets;
  }
}
