// What the kinds of requests share: operations and their progress, clusters being allocated and who waits for them, and
// what happens when data is on stable storage. The order in which the file is written is this:
//
// - A cluster is counted as used, and reads as zeroes, before it is handed out (cluster-pool.ts), on stable storage.
// - Where what the guest replaces reads as zeroes, data is written and then its entry, without a barrier: the one without
//   the other is what the guest wrote or what was there before.
// - Where there was something else, the entry is written once the data is on stable storage (commit), and the request
//   ends after that. So a request that ended survives the death of this process, whose writes the page cache has.
// - A cluster that an entry referred to is free when the entry that replaces it is on stable storage.

import type { StoreContext } from '../../devices/block/store.ts';
import { errnoOf } from '../image-file.ts';
import { type Extent, type Layer, newExtent, readsAsZeroes } from '../layers.ts';
import { Buffers } from './buffers.ts';
import type { ClusterPool } from './cluster-pool.ts';
import type { Qcow2Image } from './image.ts';
import { type MappingTables, UNALLOCATED, ZERO, ZERO_ALLOCATED } from './mapping-tables.ts';
import { EIO, isAgain, Operations } from './operations.ts';
import type { Refcounts } from './refcounts.ts';
import { Phase, Request, RequestQueue } from './request.ts';
import { SyncCycle } from './sync-cycle.ts';

const EROFS = 30;

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
  readonly operations: Operations;
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
    this.operations = new Operations({
      context,
      buffers: this.buffers,
      cycle: this.cycle,
      fd: this.#fd,
      finished: (request) => this.guard(request, handlers.finished),
      failed: (request, errno) => this.end(request, errno),
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
      if (isAgain(result)) {
        this.context.io.fdatasync(this.#fd, this.#syncToken);
        return;
      }
      if (result < 0) this.#break(result);
      this.cycle.ended(this.#broken);
      if (this.#broken !== 0) this.#failWaiters();
    } else this.operations.ended(this.requests[token] as Request, result);
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

  /** Nothing is in flight: everything on stable storage, what was set aside given back. */
  settle(): void {
    if (this.#writing === undefined || this.#broken !== 0) return;
    this.image.file.sync();
    this.cycle.settle();
    this.image.close();
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
