// Where the bytes of a disk are: a raw file, or a format that says which part of which file holds them. The request
// machine has checked a request before a store sees it; the store knows nothing of virtio, guests or queues.

import type { DeviceIo } from '@runtime/sdk/virtio';
import type { IovecTable } from './iovec-table.ts';

/** What a store works with. */
export interface StoreContext {
  readonly io: DeviceIo;
  /** The memory of request `r`: struct iovec[], of which the store may change each while the request lasts. */
  readonly iovecs: IovecTable;
  /** How many requests there are at most at a time; their numbers are below it. */
  readonly requests: number;
  /**
   * Ends a request: 0, or a negative errno. May be called before the method that began the request has returned, and
   * exactly once for each.
   */
  done(request: number, result: number): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/**
 * Offsets and lengths are bytes, multiples of 512, and offset + length is at most `capacity`. No method of the first
 * group throws or waits: what goes wrong is told with `done`. A request is at most one of them at a time.
 *
 * Operations of `io`: the tokens are the store's own choice, from 0 to 2^31 − 1, and every completion comes to
 * `complete`. There is room in `io` for one operation for each request; a store that wants several at a time for one
 * request looks at `io.free` first.
 */
export interface BlockStore extends Disposable {
  /** Bytes, a multiple of 512. */
  readonly capacity: number;
  /** @param count iovecs of the request, which together are `length` bytes; length may be 0 */
  read(request: number, count: number, offset: number, length: number): void;
  write(request: number, count: number, offset: number, length: number): void;
  /** Ends when everything is on stable storage that ended before it was called. */
  flush(request: number): void;
  /** A hint: what is read there afterwards is anything that was ever there, or zeroes. */
  discard(request: number, offset: number, length: number): void;
  /** @param mayUnmap the space may be given back; otherwise it has to stay allocated, where the format can do so */
  writeZeroes(request: number, offset: number, length: number, mayUnmap: boolean): void;
  /** An operation of `io` has ended: bytes, or a negative errno. */
  complete(token: number, result: number): void;

  /** Changes the size while requests go on. @param capacity bytes, a multiple of 512 @throws coded, and nothing changed */
  resize(capacity: number): void | Promise<void>;
  /**
   * Called with nothing in flight, before other code takes over: writes to the files what is held back, so that they can
   * be opened anew. The store can still be used after it.
   */
  settle(): void | Promise<void>;
  /** Gives back memory. The files stay the caller's. */
  [Symbol.dispose](): void;
}
