// For tests: a disk with many requests in flight, whose operations end in any order, in part, or after being told to try
// again; and a record of all that is done to the file of the image.

import { execFileSync } from 'node:child_process';
import { readSync } from 'node:fs';
import {
  FALLOC_PUNCH_HOLE,
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
import { type ImageFile, imageFile } from './image-file.ts';
import type { ChainEntry } from './layers.ts';
import { Qcow2Store } from './qcow2/store.ts';

export const SECTOR = 512;
const EINTR = 4;
/** Of memory for each request. */
const REQUEST_BYTES = 256 * 1024;

/** mulberry32: the same numbers for the same seed everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed, 0x9e3779b1);
  }

  /** 0 to below `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  }

  chance(probability: number): boolean {
    return this.below(1_000_000) < probability * 1_000_000;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T;
  }
}

export function qemuImg(...args: readonly string[]): string {
  return execFileSync('qemu-img', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 2 ** 28 });
}

/** What was done to the file, in order. */
export type FileEvent =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number }
  | { readonly kind: 'size'; readonly size: number }
  | { readonly kind: 'sync-begin'; readonly id: number }
  | { readonly kind: 'sync-end'; readonly id: number };

export class Recorder {
  readonly events: FileEvent[] = [];
  readonly #fd: number;
  #syncs = 0;

  /** @param fd of the image */
  constructor(fd: number) {
    this.#fd = fd;
  }

  records(fd: number): boolean {
    return fd === this.#fd;
  }

  wrote(offset: number, length: number): void {
    const bytes = new Uint8Array(length);
    readSync(this.#fd, bytes, 0, length, offset);
    this.events.push({ kind: 'write', offset, bytes });
  }

  zeroed(offset: number, length: number): void {
    this.events.push({ kind: 'zero', offset, length });
  }

  syncBegins(): number {
    this.#syncs += 1;
    this.events.push({ kind: 'sync-begin', id: this.#syncs });
    return this.#syncs;
  }

  syncEnds(id: number): void {
    this.events.push({ kind: 'sync-end', id });
  }

  /** The image's file, recorded. */
  open = (fd: number, name: string): ImageFile => {
    const file = imageFile(fd, name);
    if (!this.records(fd)) return file;
    return {
      ...file,
      write: (source, position) => {
        file.write(source, position);
        this.events.push({ kind: 'write', offset: position, bytes: Uint8Array.from(source) });
      },
      truncate: (size) => {
        if (size !== file.size()) this.events.push({ kind: 'size', size });
        file.truncate(size);
      },
      punch: (position, length) => {
        file.punch(position, length);
        this.zeroed(position, length);
      },
      sync: () => {
        const id = this.syncBegins();
        file.sync();
        this.syncEnds(id);
      },
    };
  };
}

interface Operation {
  readonly token: number;
  readonly perform: () => number;
}

/** Carries operations out when they end, in any order. */
export class UnrulyIo implements DeviceIo {
  readonly free = 64;
  readonly #random: Random;
  readonly #recorder: Recorder | undefined;
  readonly #begun: Operation[] = [];

  constructor(random: Random, recorder?: Recorder) {
    this.#random = random;
    this.#recorder = recorder;
  }

  get inFlight(): number {
    return this.#begun.length;
  }

  read(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#begin(token, () => rawPread(fd, address, this.#part(length), offset));
  }
  write(fd: number, address: number, length: number, offset: number, token: number): void {
    this.#begin(token, () => this.#wrote(fd, offset, rawPwrite(fd, address, this.#part(length), offset)));
  }
  readv(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#begin(token, () => rawPreadv(fd, iovecs, this.#some(count), offset));
  }
  writev(fd: number, iovecs: number, count: number, offset: number, token: number): void {
    this.#begin(token, () => this.#wrote(fd, offset, rawPwritev(fd, iovecs, this.#some(count), offset)));
  }
  fdatasync(fd: number, token: number): void {
    const id = this.#recorder?.records(fd) === true ? this.#recorder.syncBegins() : 0;
    this.#begun.push({
      token,
      perform: () => {
        const result = rawFdatasync(fd);
        if (id > 0) this.#recorder?.syncEnds(id);
        return result;
      },
    });
  }
  fallocate(fd: number, mode: number, offset: number, length: number, token: number): void {
    this.#begin(token, () => {
      const result = rawFallocate(fd, mode, offset, length);
      if (result === 0 && this.#recorder?.records(fd) === true) this.#recorder.zeroed(offset, length);
      // File systems in memory have holes only.
      return mode & FALLOC_PUNCH_HOLE ? result : result;
    });
  }

  /** Ends one operation. @returns false when there is none */
  end(complete: (token: number, result: number) => void): boolean {
    const [operation] = this.#begun.splice(this.#random.below(this.#begun.length), 1);
    if (operation === undefined) return false;
    complete(operation.token, operation.perform());
    return true;
  }

  #begin(token: number, perform: () => number): void {
    this.#begun.push({ token, perform: () => (this.#random.chance(0.03) ? -EINTR : perform()) });
  }

  #part(length: number): number {
    return length > SECTOR && this.#random.chance(0.1) ? SECTOR * (1 + this.#random.below(length / SECTOR)) : length;
  }

  #some(count: number): number {
    return this.#random.chance(0.1) ? 1 + this.#random.below(count) : count;
  }

  #wrote(fd: number, offset: number, result: number): number {
    if (result > 0) this.#recorder?.records(fd) === true && this.#recorder.wrote(offset, result);
    return result;
  }
}

export type DiskRequest =
  | { readonly kind: 'read' | 'write'; readonly offset: number; readonly length: number; readonly data?: Uint8Array }
  | { readonly kind: 'zeroes'; readonly offset: number; readonly length: number; readonly mayUnmap: boolean }
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number }
  | { readonly kind: 'flush'; readonly offset: 0; readonly length: 0 };

export class DiskRig implements Disposable {
  readonly store: Qcow2Store;
  readonly io: UnrulyIo;
  readonly warnings: string[] = [];
  readonly #random: Random;
  readonly #iovecs: IovecTable;
  readonly #memory: Mapping;
  readonly #free: number[];
  readonly #ended = new Map<number, (result: number, data: Uint8Array) => void>();

  constructor(
    chain: readonly ChainEntry[],
    random: Random,
    options: { readonly readonly?: boolean; readonly recorder?: Recorder; readonly requests?: number } = {},
  ) {
    const { requests = 8, recorder } = options;
    this.#random = random;
    this.io = new UnrulyIo(random, recorder);
    this.#iovecs = new IovecTable(requests, 16);
    this.#memory = mapAnonymous(requests * REQUEST_BYTES);
    this.#free = Array.from({ length: requests }, (_, id) => id);
    this.store = new Qcow2Store(
      chain,
      { readonly: options.readonly === true, ...(recorder === undefined ? {} : { open: recorder.open }) },
      {
        io: this.io,
        iovecs: this.#iovecs,
        requests,
        done: (id, result) => {
          const ended = this.#ended.get(id);
          if (ended === undefined) throw new Error(`request ${id} ended twice`);
          this.#ended.delete(id);
          this.#free.push(id);
          ended(result, this.#bytes(id));
        },
        warn: (message) => void this.warnings.push(message),
      },
    );
  }

  get busy(): number {
    return this.#ended.size;
  }

  get full(): boolean {
    return this.#free.length === 0;
  }

  /** Up to 256 KiB. `ended` gets 0 or a negative errno, and for a read what was read. */
  submit(request: DiskRequest, ended: (result: number, data: Uint8Array) => void): void {
    const id = this.#free.pop() as number;
    this.#ended.set(id, (result, data) => ended(result, data.subarray(0, request.length)));
    const { store } = this;
    const { offset, length } = request;
    if (request.kind === 'zeroes') store.writeZeroes(id, offset, length, request.mayUnmap);
    else if (request.kind === 'discard') store.discard(id, offset, length);
    else if (request.kind === 'flush') store.flush(id);
    else {
      if (request.data !== undefined) this.#bytes(id).set(request.data);
      const count = this.#split(id, length);
      if (request.kind === 'read') store.read(id, count, offset, length);
      else store.write(id, count, offset, length);
    }
  }

  /** Lets one operation end. @returns false when none is in flight */
  step(): boolean {
    return this.io.end((token, result) => this.store.complete(token, result));
  }

  /** Until all have ended. */
  drain(): void {
    while (this.step());
    if (this.busy > 0) throw new Error(`${this.busy} requests did not end`);
  }

  /** All of a range, read through the store. */
  readAll(size: number): Uint8Array {
    const all = new Uint8Array(size);
    for (let offset = 0; offset < size; offset += REQUEST_BYTES) {
      const length = Math.min(REQUEST_BYTES, size - offset);
      let answer = 1;
      this.submit({ kind: 'read', offset, length }, (result, data) => {
        answer = result;
        all.set(data, offset);
      });
      this.drain();
      if (answer !== 0) throw new Error(`reading at ${offset} gave ${answer}`);
    }
    return all;
  }

  [Symbol.dispose](): void {
    this.store[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
    this.#iovecs[Symbol.dispose]();
  }

  #bytes(id: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, id * REQUEST_BYTES, REQUEST_BYTES);
  }

  /** Memory of the request in a few pieces. @returns how many */
  #split(id: number, length: number): number {
    let at = 0;
    let count = 0;
    while (at < length) {
      const last = count === 15 || this.#random.chance(0.4);
      const bytes = last ? length - at : SECTOR * (1 + this.#random.below((length - at) / SECTOR));
      this.#iovecs.set(id, count, this.#memory.address + id * REQUEST_BYTES + at, bytes);
      at += bytes;
      count += 1;
    }
    return count;
  }
}
