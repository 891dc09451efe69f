// Operations on files and guest memory that end later. Iovecs and buffers must stay as they are until `complete` was
// called with the token.

export interface DeviceIo {
  /** Operations begun and not completed. */
  readonly inFlight: number;
  /** How many more can be begun now; beginning more throws. */
  readonly free: number;
  /**
   * @param aside a wish: another thread should carry it out at once, as it takes long even where it need not wait, and this
   * one has other work
   */
  read(fd: number, address: number, length: number, offset: number, token: number, aside?: boolean): void;
  write(fd: number, address: number, length: number, offset: number, token: number): void;
  /** `iovecs`: host address of struct iovec[count]. */
  readv(fd: number, iovecs: number, count: number, offset: number, token: number, aside?: boolean): void;
  writev(fd: number, iovecs: number, count: number, offset: number, token: number): void;
  fdatasync(fd: number, token: number): void;
  /** fallocate(2) with its FALLOC_FL_ flags. */
  fallocate(fd: number, mode: number, offset: number, length: number, token: number): void;
}

/** What the loop of a device process does with it. Tokens are unsigned 31-bit numbers. */
export interface IoEngine extends DeviceIo, Disposable {
  /** Which engine: what `runtime vm inspect` shows. */
  readonly kind: 'io_uring' | 'sync';
  /** Told the end of each operation, inside `run`. */
  onComplete: (token: number, result: number) => void;
  /** Told the descriptor of `wake` that ended a wait. */
  onWake: (fd: number) => void;
  /**
   * Begins what was asked for and tells what has ended. With nothing to tell it waits for up to `waitUs` microseconds, for
   * an operation to end or for one of the first `count` descriptors of `wake` to become readable. Returns how many
   * operations ended.
   */
  run(waitUs: number, wake: Int32Array, count: number): number;
}
