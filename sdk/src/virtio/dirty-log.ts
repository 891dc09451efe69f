// Which pages of guest memory the device has written, while the front end copies that memory elsewhere (migration):
// vhost-user "Migration". One bit for each 4 KiB page, by guest-physical address.

import type { Mapping } from '../linux/mapping.ts';

const LOG_PAGE = 4096;

export class DirtyLog {
  readonly #bits: Uint8Array<ArrayBuffer>;

  /** The log is `length` bytes of the mapping. */
  constructor(mapping: Mapping, offset: number = 0, length: number = mapping.length - offset) {
    this.#bits = new Uint8Array(mapping.buffer, offset, length);
  }

  /** Call it after the bytes were written: a page that is marked before may be copied before. */
  mark(guestAddress: number, length: number): void {
    if (length <= 0) return;
    const bits = this.#bits;
    const last = Math.floor((guestAddress + length - 1) / LOG_PAGE);
    for (let page = Math.floor(guestAddress / LOG_PAGE); page <= last; page += 1) {
      const at = Math.floor(page / 8);
      // Memory that the log does not cover is not migrated.
      if (at >= bits.length) return;
      // The front end takes and clears bits meanwhile, so a plain read and write would lose some.
      Atomics.or(bits, at, 1 << (page % 8));
    }
  }
}
