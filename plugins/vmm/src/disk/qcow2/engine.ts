// What the kinds of requests share: operations and their progress, clusters being allocated and who waits for them, and
// what happens when data is on stable storage. The order in which the file is written is this:
//
// - A cluster is counted as used, and reads as zeroes, before it is handed out (cluster-pool.ts), on stable storage.
// - Where what the guest replaces reads as zeroes, data is written and then its entry, without a barrier: the one without
//   the other is what the guest wrote or what was there before.
// - Where there was something else, the entry is written once the data is on stable storage (commit), and the request
//   ends after that. So a request that ended survives the death of this process, whose writes the page cache has.
// - A cluster that an entry referred to is free when the entry that replaces it is on stable storage.

import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE } from '@runtime/sdk/linux';
import type { StoreContext } from '../../devices/block/store.ts';
import { errnoOf } from '../image-file.ts';
import { type Extent, type Layer, newExtent, readsAsZeroes } from '../layers.ts';
import { Buffers } from './buffers.ts';
import type { ClusterPool } from './cluster-pool.ts';
import type { Qcow2Image } from './image.ts';
import { type MappingTables, UNALLOCATED, ZERO, ZERO_ALLOCATED } from './mapping-tables.ts';
import type { Refcounts } from './refcounts.ts';
import { Phase, Request, RequestQueue } from './request.ts';
import { SyncCycle } from './sync-cycle.ts';
import { advanceWindow, closeWindow, copyTo, fillFrom, openWindow } from './window.ts';

export const EIO = 5;
const EINTR = 4;
const EAGAIN = 11;
const EROFS = 30;
const MAX_RETRIES = 100;

export class Engine {
  readonly layers: readonly Layer[];
  readonly image: Qcow2Image;
  readonly tables: MappingTables;
  readonly clusterSize: number;
  readonly context: StoreContext;
  readonly buffers: Buffers;
  readonly requests: readonly Request[];
  readonly extent: Extent = newExtent();
  readonly cycle: SyncCycle;
  /** Guest clusters that are being allocated, and who waits for each. */
  readonly pending = new Map<number, RequestQueue>();
  readonly runnable = new RequestQueue();
  /** The end of the disk, also while it is growing. */
  limit: number;
  readonly #fd: number;
  readonly #writing: { readonly refcounts: Refcounts; readonly pool: ClusterPool } | undefined;
  readonly #poolWaiters = new RequestQueue();
  readonly #slotWaiters = new RequestQueue();
  readonly #step: (request: Request) => void;
  readonly #finished: (request: Request) => void;
  readonly #ended: (request: Request, result: number) => void;
  readonly #syncToken: number;
  #revision: number;
  #running = false;
  #poolWanted = false;
  /** Why nothing is written any more: a negative errno, or 0. */
  #broken = 0;

  constructor(
    layers: readonly Layer[],
    context: StoreContext,
    handlers: {
      /** Goes on with a request that has no operation in flight. */
      step(request: Request): void;
      /** The operation of the request is done. */
      finished(request: Request): void;
      /** The request is. */
      ended(request: Request, result: number): void;
    },
  ) {
    this.layers = layers;
    this.image = (layers[0] as Layer).image as Qcow2Image;
    this.tables = this.image.tables;
    this.clusterSize = this.image.clusterSize;
    this.context = context;
    this.limit = this.image.size;
    this.#fd = this.image.file.fd;
    this.#writing = this.image.writing;
    this.#revision = this.#writing?.refcounts.revision ?? 0;
    this.buffers = new Buffers(this.clusterSize);
    this.#step = handlers.step;
    this.#finished = handlers.finished;
    this.#ended = handlers.ended;
    // One more than those of the guest: for what resizing has to do.
    this.requests = Array.from({ length: context.requests + 1 }, (_, id) => new Request(id));
    this.#syncToken = context.requests + 1;
    this.cycle = new SyncCycle({
      begin: () => {
        if (context.io.free === 0) return false;
        context.io.fdatasync(this.#fd, this.#syncToken);
        return true;
      },
      prepare: () => this.#prepare(),
      prepared: () => this.#prepared(),
      commit: (request) => this.link(request),
      flushed: (request) => this.end(request, 0),
      failed: (request, errno) => this.end(request, errno),
      release: (runs) => this.#release(runs),
    });
  }

  /** Why the image is not written to: a negative errno; 0 when it is. */
  get refusal(): number {
    return this.#writing === undefined ? -EROFS : this.#broken;
  }

  /** Goes on with all that can, until all wait for something. */
  drain(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      this.#drain();
    } finally {
      this.#running = false;
    }
  }

  #drain(): void {
    for (;;) {
      const request = this.runnable.shift();
      if (request !== undefined) {
        this.guard(request, this.#step);
        continue;
      }
      this.cycle.run();
      if (this.runnable.empty) break;
    }
  }

  /** An operation has ended. */
  complete(token: number, result: number): void {
    if (token === this.#syncToken) {
      if (result === -EINTR || result === -EAGAIN) {
        this.context.io.fdatasync(this.#fd, this.#syncToken);
        return;
      }
      if (result < 0) this.#break(result);
      this.cycle.ended(Math.min(0, result));
      if (result < 0) this.#failWaiters();
    } else {
      const request = this.requests[token] as Request;
      this.cycle.leave(request);
      this.#progress(request, result);
    }
    this.drain();
  }

  /** Calls `fn`; the request ends with what it throws. */
  guard(request: Request, fn: (request: Request) => void): void {
    try {
      fn(request);
    } catch (e) {
      // What was thrown by whoever was told the end is not ours.
      if (!request.active) throw e;
      this.end(request, errnoOf(e));
    }
  }

  /** Ends a request; clusters that it was allocating are given up. */
  end(request: Request, result: number): void {
    if (request.clusters > 0) {
      // Something may have been written there already, so they cannot be handed out as they are.
      this.cycle.drop(request.target, request.clusters);
      this.#unblock(request);
    }
    this.giveBackSlot(request);
    request.phase = Phase.none;
    request.active = false;
    this.#ended(request, result);
  }

  /** Reads or writes the next `length` bytes of the request at `host` of `fd`, from or to guest memory. */
  transfer(request: Request, phase: Phase, fd: number, host: number, length: number): void {
    request.phase = phase;
    request.fd = fd;
    request.host = host;
    request.address = 0;
    request.length = openWindow(this.context.iovecs, request, length);
    request.rest = request.length;
    request.retries = 0;
    this.#issue(request);
  }

  /** Reads or writes `length` bytes of memory of ours. `request.length` is the caller's. */
  transferOwn(request: Request, phase: Phase, fd: number, host: number, address: number, length: number): void {
    request.phase = phase;
    request.fd = fd;
    request.host = host;
    request.address = address;
    request.rest = length;
    request.retries = 0;
    this.#issue(request);
  }

  /** Lets others go on, and the request later. */
  pause(request: Request): void {
    this.transferOwn(request, Phase.pause, this.buffers.zeroFd, 0, this.buffers.address(this.buffers.scratch), 1);
  }

  /** Fills guest memory from a file in memory. */
  fill(request: Request, length: number, fd: number, position: number): void {
    const bytes = fillFrom(this.context.iovecs, request, length, fd, position);
    if (bytes < 0) throw Object.assign(new Error('guest memory was not filled'), { errno: bytes });
    request.offset += bytes;
    request.left -= bytes;
  }

  /** Copies guest memory into the buffer of the request. */
  copyIn(request: Request, length: number, within: number): void {
    const position = this.buffers.position(request.slot) + within;
    const bytes = copyTo(this.context.iovecs, request, length, this.buffers.fd, position);
    if (bytes !== length)
      throw Object.assign(new Error('guest memory was not copied'), { errno: Math.min(bytes, -EIO) });
  }

  /** The unpacked cluster at `offset` of a layer. @throws with errno EIO */
  unpack(layer: Layer, offset: number): Uint8Array {
    const image = layer.image as Qcow2Image;
    const cluster = Math.floor(offset / image.clusterSize);
    const extent = image.tables.compressed(image.tables.raw(cluster));
    const bytes = image.decompressor.cluster(cluster, extent);
    if (bytes === undefined) throw Object.assign(new Error('a compressed cluster is damaged'), { errno: -EIO });
    return bytes;
  }

  /** Whether the request has to wait for the allocation of a cluster; it goes on by itself. */
  blocked(request: Request, cluster: number): boolean {
    if (this.pending.size === 0) return false;
    const queue = this.pending.get(cluster);
    if (queue === undefined) return false;
    queue.push(request);
    return true;
  }

  /** Whether a cluster can be taken and there is a table for `cluster`; if not, the request goes on by itself. */
  reserve(request: Request, cluster: number): boolean {
    const pool = this.#writing?.pool as ClusterPool;
    for (;;) {
      if (pool.low) {
        this.#poolWanted = true;
        this.cycle.want();
      }
      if (pool.free === 0) {
        this.#poolWaiters.push(request);
        return false;
      }
      if (this.tables.hasTable(cluster)) return true;
      // If this fails the entry may be there or not: the cluster stays counted.
      this.image.linkTable(cluster, pool.take(1) * this.clusterSize);
    }
  }

  /** Up to `count` clusters in one piece for those from `cluster`; see reserve(). @returns how many */
  allocate(request: Request, cluster: number, count: number): number {
    const pool = this.#writing?.pool as ClusterPool;
    const clusters = Math.min(count, pool.run);
    request.target = pool.take(clusters);
    request.cluster = cluster;
    request.clusters = clusters;
    for (let index = 0; index < clusters; index += 1) this.pending.set(cluster + index, new RequestQueue());
    return clusters;
  }

  /** Clusters that can be allocated in one piece at most. */
  get allocatable(): number {
    return this.#writing?.pool.run ?? 0;
  }

  takeSlot(request: Request): boolean {
    const slot = this.buffers.take();
    if (slot === undefined) this.#slotWaiters.push(request);
    else request.slot = slot;
    return slot !== undefined;
  }

  giveBackSlot(request: Request): void {
    if (request.slot === -1) return;
    this.buffers.giveBack(request.slot);
    request.slot = -1;
    const next = this.#slotWaiters.shift();
    if (next !== undefined) this.runnable.push(next);
  }

  /** The entry of a cluster leaves what it refers to, if that is not in place: for drop() once it is written. */
  leaving(cluster: number, value: number, runs: number[]): void {
    if (value === UNALLOCATED || value === ZERO) return;
    const clusters = this.image.hostClusters(cluster, value);
    if (clusters !== undefined) runs.push(...clusters);
  }

  dropAll(runs: readonly number[]): void {
    for (let at = 0; at < runs.length; at += 2) this.cycle.drop(runs[at] as number, runs[at + 1] as number);
  }

  /** Data is where it belongs, and as safe as it has to be: the entries refer to it from now on. The request goes on. */
  link(request: Request): void {
    const { cluster, clusters, target } = request;
    const runs: number[] = [];
    try {
      for (let index = 0; index < clusters; index += 1) {
        const value = this.tables.entry(cluster + index);
        this.leaving(cluster + index, value, runs);
        if (value !== UNALLOCATED) this.image.decompressor.forget(cluster + index);
      }
      this.tables.link(cluster, clusters, target * this.clusterSize);
    } catch (e) {
      // The entries may be there or not, so that neither the old clusters nor the new ones can be given up.
      this.#unblock(request);
      this.end(request, errnoOf(e));
      return;
    }
    this.#unblock(request);
    this.dropAll(runs);
    this.advance(request);
  }

  /** `request.length` bytes of the guest's range are done. */
  advance(request: Request): void {
    request.offset += request.length;
    request.left -= request.length;
    request.phase = Phase.none;
    this.runnable.push(request);
  }

  /** Whether what the guest has there reads as zeroes, so that new clusters can take its place without a barrier. */
  isFresh(cluster: number, value: number): boolean {
    if (value === ZERO || value === ZERO_ALLOCATED) return true;
    if (value !== UNALLOCATED) return false;
    const offset = cluster * this.clusterSize;
    return readsAsZeroes(this.layers, 1, offset, this.clusterSize, this.extent);
  }

  /** fallocate(2) that makes a range of the image's file read as zeroes. */
  zeroRange(request: Request, punch: boolean, host: number, length: number): void {
    request.phase = Phase.zeroRange;
    request.fd = this.#fd;
    request.host = host;
    request.rest = length;
    request.length = length;
    request.retries = 0;
    this.cycle.enter(request);
    const mode = (punch ? FALLOC_PUNCH_HOLE : FALLOC_ZERO_RANGE) | FALLOC_KEEP_SIZE;
    this.context.io.fallocate(this.#fd, mode, host, length, request.id);
  }

  /** Nothing is in flight: everything on stable storage, what was set aside given back. */
  settle(): void {
    if (this.#writing === undefined || this.#broken !== 0) return;
    this.image.file.sync();
    this.cycle.settle();
    this.image.close();
  }

  #issue(request: Request): void {
    const { io, iovecs } = this.context;
    const { id, fd, host, address, rest, phase } = request;
    const writes = phase !== Phase.read && phase !== Phase.copyOut && phase !== Phase.pause;
    this.cycle.enter(request);
    if (address !== 0) {
      if (writes) io.write(fd, address, rest, host, id);
      else io.read(fd, address, rest, host, id);
    } else if (request.window === 1) {
      if (writes) io.write(fd, iovecs.base(id, request.first), rest, host, id);
      else io.read(fd, iovecs.base(id, request.first), rest, host, id);
    } else if (writes) io.writev(fd, iovecs.address(id, request.first), request.window, host, id);
    else io.readv(fd, iovecs.address(id, request.first), request.window, host, id);
  }

  #progress(request: Request, result: number): void {
    if (result < 0) {
      const again = (result === -EINTR || result === -EAGAIN) && request.retries < MAX_RETRIES;
      request.retries += 1;
      if (request.phase === Phase.zeroRange) {
        request.result = result;
        this.guard(request, this.#finished);
      } else if (again) this.#issue(request);
      else this.end(request, result);
      return;
    }
    if (request.phase === Phase.zeroRange || request.phase === Phase.pause) {
      request.result = 0;
      this.guard(request, this.#finished);
      return;
    }
    let bytes = result;
    if (bytes === 0 && request.rest > 0) {
      bytes = this.#pastEnd(request);
      if (bytes < 0) {
        this.end(request, bytes);
        return;
      }
    }
    request.rest -= bytes;
    if (request.rest > 0) {
      request.host += bytes;
      if (request.address !== 0) request.address += bytes;
      else advanceWindow(this.context.iovecs, request, bytes);
      this.#issue(request);
      return;
    }
    if (request.address === 0) closeWindow(this.context.iovecs, request);
    this.guard(request, this.#finished);
  }

  /** Reading goes on with zeroes where a file ends. @returns bytes, or a negative errno */
  #pastEnd(request: Request): number {
    if (request.phase === Phase.copyOut) {
      const from = request.address - this.buffers.address(request.slot);
      this.buffers.bytes(request.slot).fill(0, from, from + request.rest);
      return request.rest;
    }
    if (request.phase !== Phase.read) return -EIO;
    if (request.fd === this.buffers.zeroFd) return -EIO;
    // The same operation on a file that has nothing but zeroes.
    request.fd = this.buffers.zeroFd;
    request.host = 0;
    return 0;
  }

  #unblock(request: Request): void {
    for (let index = 0; index < request.clusters; index += 1) {
      const queue = this.pending.get(request.cluster + index);
      this.pending.delete(request.cluster + index);
      if (queue !== undefined) this.runnable.take(queue);
    }
    request.clusters = 0;
  }

  #prepare(): void {
    const { pool, refcounts } = this.#writing ?? {};
    if (pool === undefined || refcounts === undefined || this.#broken !== 0 || !this.#poolWanted || !pool.low) return;
    this.#poolWanted = false;
    try {
      this.image.markDirty();
      pool.prepare();
      if (this.#revision === refcounts.revision) return;
      this.#revision = refcounts.revision;
      this.image.noteMetadata();
    } catch (e) {
      const errno = errnoOf(e);
      for (;;) {
        const request = this.#poolWaiters.shift();
        if (request === undefined) break;
        this.end(request, errno);
      }
    }
  }

  #prepared(): void {
    this.#writing?.pool.ready();
    this.runnable.take(this.#poolWaiters);
  }

  #release(runs: readonly number[]): void {
    const { pool, refcounts } = this.#writing ?? {};
    if (pool === undefined || refcounts === undefined) return;
    try {
      for (let at = 0; at < runs.length; at += 2) pool.release(runs[at] as number, runs[at + 1] as number);
      refcounts.flush();
    } catch (e) {
      // What is not released is lost until the next check, no more.
      refcounts.forget();
      this.context.warn('clusters that are not used any more were not given back', {
        image: this.image.file.name,
        errno: errnoOf(e),
      });
    }
  }

  /** After a failed sync nobody knows what is on stable storage, and the next one would succeed: it must not. */
  #break(errno: number): void {
    if (this.#broken !== 0) return;
    this.#broken = errno;
    this.context.warn('the image could not be synced, and is only read from now on', {
      image: this.image.file.name,
      errno,
    });
  }

  #failWaiters(): void {
    for (const queue of [this.#poolWaiters, this.cycle.commits, this.cycle.flushes])
      for (;;) {
        const request = queue.shift();
        if (request === undefined) break;
        this.end(request, this.#broken);
      }
  }
}
