// A disk for programs that do one thing after another: the store of the block device with its operations carried out at
// once. For the disk tool and for tests.

import {
  type Mapping,
  mapAnonymous,
  rawFallocate,
  rawFdatasync,
  rawPread,
  rawPreadv,
  rawPwrite,
  rawPwritev,
} from '@runtime/sdk/linux';
import type { DeviceIo } from '@runtime/sdk/virtio';
import { IovecTable } from '../devices/block/iovec-table.ts';
import { errors } from '../errors.ts';
import type { ChainEntry } from './layers.ts';
import { Qcow2Store, type Qcow2StoreOptions } from './qcow2/store.ts';

/** Bytes moved at a time. */
const TRANSFER = 2 * 2 ** 20;

/** Operations are carried out when they are begun, and told by next(). */
export class ImmediateIo implements DeviceIo {
  readonly free = 16;
  readonly #ended: [token: number, result: number][] = [];

  get inFlight(): number {
    return this.#ended.length;
  }

  read(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#ended.push([token, rawPread(fd, address, length, offset)]);
  }
  write(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#ended.push([token, rawPwrite(fd, address, length, offset)]);
  }
  readv(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#ended.push([token, rawPreadv(fd, iovecs, count, offset)]);
  }
  writev(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#ended.push([token, rawPwritev(fd, iovecs, count, offset)]);
  }
  fdatasync(fd: number, token: number): void {
    this.#ended.push([token, rawFdatasync(fd)]);
  }
  fallocate(fd: number, mode: number, offset: number, length: number, token: number): void {
    this.#ended.push([token, rawFallocate(fd, mode, offset, length)]);
  }

  /** An operation ends without having been carried out; for tests. */
  protected ends(token: number, result: number): void {
    this.#ended.push([token, result]);
  }

  next(): [token: number, result: number] | undefined {
    return this.#ended.shift();
  }
}

export interface SyncDiskOptions extends Qcow2StoreOptions {
  readonly io?: ImmediateIo;
  warn?(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** Offsets and lengths are bytes, multiples of 512. Methods throw VMM_ERR_DISK_IO. */
export class SyncDisk implements Disposable {
  readonly store: Qcow2Store;
  readonly #name: string;
  readonly #io: ImmediateIo;
  readonly #iovecs = new IovecTable(1, 1);
  readonly #memory: Mapping = mapAnonymous(TRANSFER);
  readonly #bytes = new Uint8Array(this.#memory.buffer);
  #result: number | undefined;

  /** @throws VMM_ERR_DISK_… */
  constructor(chain: readonly ChainEntry[], options: SyncDiskOptions) {
    this.#io = options.io ?? new ImmediateIo();
    this.#name = chain[0]?.name ?? '';
    this.store = new Qcow2Store(chain, options, {
      io: this.#io,
      iovecs: this.#iovecs,
      requests: 1,
      done: (_request, result) => {
        this.#result = result;
      },
      warn: options.warn ?? (() => {}),
    });
  }

  get size(): number {
    return this.store.capacity;
  }

  read(target: Uint8Array, offset: number): void {
    for (let done = 0; done < target.length; done += TRANSFER) {
      const length = Math.min(TRANSFER, target.length - done);
      this.#iovecs.set(0, 0, this.#memory.address, length);
      this.#run('read', () => this.store.read(0, 1, offset + done, length));
      target.set(this.#bytes.subarray(0, length), done);
    }
  }

  write(source: Uint8Array, offset: number): void {
    for (let done = 0; done < source.length; done += TRANSFER) {
      const length = Math.min(TRANSFER, source.length - done);
      this.#bytes.set(source.subarray(done, done + length));
      this.#iovecs.set(0, 0, this.#memory.address, length);
      this.#run('written', () => this.store.write(0, 1, offset + done, length));
    }
  }

  writeZeroes(offset: number, length: number, mayUnmap = true): void {
    this.#run('written', () => this.store.writeZeroes(0, offset, length, mayUnmap));
  }

  discard(offset: number, length: number): void {
    this.#run('written', () => this.store.discard(0, offset, length));
  }

  flush(): void {
    this.#run('synced', () => this.store.flush(0));
  }

  resize(capacity: number): Promise<void> {
    const resized = this.store.resize(capacity);
    this.#pump();
    return resized;
  }

  /** What lies beyond the new end is given back. */
  shrink(capacity: number): void {
    this.discard(capacity, this.size - capacity);
    this.flush();
    this.store.shrunk(capacity);
  }

  /** Leaves the image as it should be left. It can still be used. */
  settle(): void {
    this.store.settle();
  }

  [Symbol.dispose](): void {
    this.store[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
    this.#iovecs[Symbol.dispose]();
  }

  #run(verb: string, begin: () => void): void {
    this.#result = undefined;
    begin();
    this.#pump();
    if (this.#result === undefined) throw new Error('a request of the disk did not end');
    if (this.#result < 0) throw errors.VMM_ERR_DISK_IO({ details: { image: this.#name, verb, errno: -this.#result } });
  }

  #pump(): void {
    for (;;) {
      const ended = this.#io.next();
      if (ended === undefined) return;
      this.store.complete(ended[0], ended[1]);
    }
  }
}
