// Zeroes to read and to write. Both are made when they are first needed.

import { closeSync } from 'node:fs';
import { type Mapping, mapAnonymous, memfdCreate } from '@runtime/sdk/linux';
import type { IovecTable } from './iovec-table.ts';

/** More than one readv(2) takes; a hole needs no memory. */
const HOLE_BYTES = 2 ** 31;
const PAGE_OF_ZEROES = 64 * 1024;
/** Bytes in one operation. */
const MAX_WRITE = 1024 * 1024;

export class ZeroSource implements Disposable {
  #fd = -1;
  #memory: Mapping | undefined;

  /** A file that is one hole: reading it is how the kernel itself fills guest memory with zeroes. */
  get fd(): number {
    if (this.#fd === -1) this.#fd = memfdCreate('zeroes', { size: HOLE_BYTES });
    return this.#fd;
  }

  /** Points the iovecs of a request at zeroes, for as much of `length` as one write should be. @returns how many iovecs */
  fill(iovecs: IovecTable, request: number, length: number): number {
    this.#memory ??= mapAnonymous(PAGE_OF_ZEROES);
    let left = Math.min(length, MAX_WRITE);
    let count = 0;
    while (left > 0 && count < iovecs.perRequest) {
      const bytes = Math.min(left, PAGE_OF_ZEROES);
      iovecs.set(request, count, this.#memory.address, bytes);
      left -= bytes;
      count += 1;
    }
    return count;
  }

  [Symbol.dispose](): void {
    if (this.#fd !== -1) closeSync(this.#fd);
    this.#fd = -1;
    this.#memory?.[Symbol.dispose]();
    this.#memory = undefined;
  }
}
