// Memory that is both a file and a mapping: JavaScript and pread/pwrite with an address see the mapping, and guest memory
// is filled from it, or copied to it, by preadv/pwritev on the file. Made when it is first needed.

import { closeSync } from 'node:fs';
import { type Mapping, mapFile, memfdCreate } from '@runtime/sdk/linux';

/** All buffers together, in bytes, as far as there are at least three. */
const BYTES = 4 * 2 ** 20;
const MAX_SLOTS = 16;
const HOLE_BYTES = 2 ** 32;

export class Buffers implements Disposable {
  readonly #slotBytes: number;
  readonly #slots: number;
  readonly #free: number[] = [];
  #fd = -1;
  #zeroFd = -1;
  #mapping: Mapping | undefined;

  /** @param slotBytes of a cluster */
  constructor(slotBytes: number) {
    this.#slotBytes = slotBytes;
    this.#slots = Math.max(2, Math.min(MAX_SLOTS, BYTES / slotBytes));
    // The last is for what is done with at once: see scratch.
    for (let slot = 0; slot < this.#slots; slot += 1) this.#free.push(slot);
  }

  /** A file that is one hole. */
  get zeroFd(): number {
    if (this.#zeroFd === -1) this.#zeroFd = memfdCreate('zeroes', { size: HOLE_BYTES });
    return this.#zeroFd;
  }

  get fd(): number {
    this.#open();
    return this.#fd;
  }

  /** A buffer beside those that can be taken, whose contents last as long as nobody else is called. */
  get scratch(): number {
    return this.#slots;
  }

  /** `undefined`: all are in use. */
  take(): number | undefined {
    return this.#free.pop();
  }

  giveBack(slot: number): void {
    this.#free.push(slot);
  }

  /** Where it is in the file. */
  position(slot: number): number {
    return slot * this.#slotBytes;
  }

  address(slot: number): number {
    return this.#open().address + this.position(slot);
  }

  bytes(slot: number): Uint8Array {
    return new Uint8Array(this.#open().buffer, this.position(slot), this.#slotBytes);
  }

  [Symbol.dispose](): void {
    this.#mapping?.[Symbol.dispose]();
    this.#mapping = undefined;
    for (const fd of [this.#fd, this.#zeroFd]) if (fd !== -1) closeSync(fd);
    this.#fd = -1;
    this.#zeroFd = -1;
  }

  #open(): Mapping {
    if (this.#mapping !== undefined) return this.#mapping;
    const size = (this.#slots + 1) * this.#slotBytes;
    this.#fd = memfdCreate('clusters', { size, seals: ['shrink', 'grow'] });
    this.#mapping = mapFile(this.#fd, size);
    return this.#mapping;
  }
}
