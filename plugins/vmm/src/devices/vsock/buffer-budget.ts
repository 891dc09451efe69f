// How much memory the connections of a device may hold for sockets that nobody reads. Room that was promised to a guest
// cannot be taken back, so it is divided when a connection is made: the more is promised, the less a new one gets.

/** Bytes; what Linux uses for its own side. */
const MOST = 256 * 1024;
/** Bytes; less would make the smallest packets. */
const LEAST = 4096;
/** Part of what is left that one connection gets. */
const SHARE = 1024;

export class BufferBudget {
  #left: number;

  /** @param bytes in all; 256 MiB gives the first connection 256 KiB, the thousandth 96 KiB, and is enough for 5,000 */
  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** Bytes for one connection, 0 when there are none left. */
  reserve(): number {
    if (this.#left < LEAST) return 0;
    const size = Math.min(MOST, Math.max(LEAST, Math.floor(this.#left / SHARE)));
    this.#left -= size;
    return size;
  }

  /** Exactly that much, which earlier code had promised under limits of its own. */
  claim(bytes: number): void {
    this.#left -= bytes;
  }

  release(bytes: number): void {
    this.#left += bytes;
  }
}
