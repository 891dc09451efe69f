// Writes a raw disk from its beginning to its end. What is zero in it takes no space.

import { ftruncateSync, writeSync } from 'node:fs';
import { errors } from '../errors.ts';

/** What is zero in such a piece takes no space. */
const PIECE = 64 * 1024;
const ZEROES = Buffer.alloc(PIECE);
const BLOCK = 4096;

export class DiskWriter {
  readonly #target: number;
  readonly #maxBytes: number;
  #size = 0;

  /** @param target descriptor of an empty file */
  constructor(target: number, maxBytes: number) {
    this.#target = target;
    this.#maxBytes = maxBytes;
  }

  /** Bytes that have been written. */
  get size(): number {
    return this.#size;
  }

  /** @throws CROSTINI_ERR_DISK_SIZE, what writing failed with */
  write(chunk: Buffer): void {
    if (this.#size + chunk.length > this.#maxBytes)
      throw errors.CROSTINI_ERR_DISK_SIZE({ details: { bytes: `over ${this.#maxBytes}`, why: 'it is too large' } });
    let from = 0;
    for (let at = 0; at < chunk.length; at += PIECE) {
      const end = Math.min(chunk.length, at + PIECE);
      if (ZEROES.compare(chunk, at, end, 0, end - at) !== 0) continue;
      this.#flush(chunk, from, at);
      from = end;
    }
    this.#flush(chunk, from, chunk.length);
    this.#size += chunk.length;
  }

  /** @returns the size of the disk, a multiple of 4096 @throws CROSTINI_ERR_DISK_IMAGE when nothing was written */
  finish(): number {
    if (this.#size === 0) throw errors.CROSTINI_ERR_DISK_IMAGE({ details: { why: 'there is nothing in it' } });
    const bytes = Math.ceil(this.#size / BLOCK) * BLOCK;
    ftruncateSync(this.#target, bytes);
    return bytes;
  }

  #flush(chunk: Buffer, from: number, end: number): void {
    for (let at = from; at < end; ) at += writeSync(this.#target, chunk, at, end - at, this.#size + at);
  }
}
