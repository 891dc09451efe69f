// Writes that are made at once instead of being handed to io_uring. Most file systems cannot write to the page cache
// without the chance of waiting, so that io_uring wakes a worker thread for each write, which takes several times as long
// as the copy. The copy may as well be made here, as long as the kernel does not make writers wait.

import { rawPwrite, rawPwritev } from '@runtime/sdk/linux';
import type { IovecTable } from './iovec-table.ts';

/** Longer ones, in bytes, are left to others: they would keep this thread from its other queues. */
const MAX_BYTES = 2 * 2 ** 20;
/** A write that took longer, in ms, has waited: for a disk that is slower than the guest, or for a block to be read. */
const SLOW_MS = 2;
/** For how long, in ms, nobody waits here any more. */
const BACK_OFF_MS = 100;

export class PromptWriter {
  readonly #enabled: boolean;
  #notBefore = 0;

  /** @param enabled the bytes go through the page cache */
  constructor(enabled: boolean) {
    this.#enabled = enabled;
  }

  /**
   * Writes iovecs `first` to `count` − 1 of a request.
   * @returns bytes or a negative errno; `undefined` when it is not to be done here
   */
  write(
    fd: number,
    iovecs: IovecTable,
    request: number,
    first: number,
    count: number,
    length: number,
    offset: number,
  ): number | undefined {
    if (!this.#enabled || length > MAX_BYTES) return undefined;
    const now = performance.now();
    if (now < this.#notBefore) return undefined;
    const result =
      count - first === 1
        ? rawPwrite(fd, iovecs.base(request, first), length, offset)
        : rawPwritev(fd, iovecs.address(request, first), count - first, offset);
    const end = performance.now();
    if (end - now > SLOW_MS) this.#notBefore = end + BACK_OFF_MS;
    return result;
  }
}
