// A qcow2 image, with its backing files, as a store of the block device. It works with the descriptors that it was given,
// and writes to the first of them only.

import type { BlockStore, StoreContext } from '../../devices/block/store.ts';
import { errors } from '../../errors.ts';
import { errnoOf } from '../image-file.ts';
import { type ChainEntry, type OpenLayersOptions, openLayers } from '../layers.ts';
import { Engine } from './engine.ts';
import { stepRead } from './read-steps.ts';
import { Kind, Phase, type Request } from './request.ts';
import { stepWrite, wrote } from './write-steps.ts';
import { stepDiscard, stepZeroes, ZeroMeans, zeroed } from './zero-steps.ts';

const SECTOR = 512;

export interface Qcow2StoreOptions {
  readonly readonly: boolean;
  /** For tests. */
  readonly open?: OpenLayersOptions['open'];
}

export class Qcow2Store implements BlockStore {
  readonly #context: StoreContext;
  readonly #engine: Engine;
  readonly #means = new ZeroMeans();
  #resized: ((result: number) => void) | undefined;

  /**
   * Opens the image and, when it was not closed properly, puts it in order.
   * @param chain the image first; the descriptors stay the caller's
   * @throws VMM_ERR_DISK_…
   */
  constructor(chain: readonly ChainEntry[], options: Qcow2StoreOptions, context: StoreContext) {
    this.#context = context;
    const layers = openLayers(chain, {
      writable: !options.readonly,
      warn: (message, fields) => context.warn(message, fields),
      ...(options.open === undefined ? {} : { open: options.open }),
    });
    this.#engine = new Engine(layers, context, {
      step: (request) => this.#step(request),
      finished: (request) => this.#finished(request),
      ended: (request, result) => this.#ended(request, result),
    });
  }

  get capacity(): number {
    return this.#engine.image.size - (this.#engine.image.size % SECTOR);
  }

  /** Bytes: what can be given back at a time. */
  get clusterSize(): number {
    return this.#engine.clusterSize;
  }

  read(request: number, count: number, offset: number, length: number): void {
    this.#begin(request, Kind.read, count, offset, length, false);
  }

  write(request: number, count: number, offset: number, length: number): void {
    if (this.#refuses(request)) return;
    this.#begin(request, Kind.write, count, offset, length, false);
  }

  flush(request: number): void {
    const { refusal, image } = this.#engine;
    // A read-only image has nothing to make safe.
    if (image.writing === undefined || refusal !== 0)
      this.#context.done(request, image.writing === undefined ? 0 : refusal);
    else this.#begin(request, Kind.flush, 0, 0, 0, false);
  }

  discard(request: number, offset: number, length: number): void {
    if (this.#refuses(request)) return;
    this.#begin(request, Kind.discard, 0, offset, length, true);
  }

  writeZeroes(request: number, offset: number, length: number, mayUnmap: boolean): void {
    if (this.#refuses(request)) return;
    this.#begin(request, Kind.zeroes, 0, offset, length, mayUnmap);
  }

  complete(token: number, result: number): void {
    this.#engine.complete(token, result);
  }

  /** Grows the disk. What a larger backing file has beyond the old end is hidden. */
  async resize(capacity: number): Promise<void> {
    const engine = this.#engine;
    const { image } = engine;
    const refuse = (why: string, cause?: unknown) => errors.VMM_ERR_DISK_RESIZE({ details: { capacity, why }, cause });
    if (engine.refusal !== 0) throw refuse('the image is not written to');
    if (this.#resized !== undefined) throw refuse('it is being resized already');
    if (capacity < image.size) throw refuse('a qcow2 image cannot be made smaller while it is in use');
    if (capacity === image.size) return;
    try {
      image.reserveTables(capacity);
      engine.limit = capacity;
      const result = await new Promise<number>((resolve) => {
        this.#resized = resolve;
        const request = engine.requests.length - 1;
        this.#begin(request, Kind.zeroes, 0, image.size, this.#hidden(capacity) - image.size, true);
      });
      this.#resized = undefined;
      if (result !== 0) throw Object.assign(new Error('the new part was not cleared'), { errno: result });
      image.file.sync();
      image.setSize(capacity);
    } catch (e) {
      this.#resized = undefined;
      engine.limit = image.size;
      const errno = (e as { readonly errno?: number }).errno;
      throw errno === undefined ? e : refuse(`writing to the image failed (errno ${-errnoOf(e)})`, e);
    }
  }

  /** Cuts the disk off; nothing is in flight, and operations end at once. @param capacity bytes, at most what it has */
  shrunk(capacity: number): void {
    const { image } = this.#engine;
    image.setSize(capacity);
    this.#engine.limit = capacity;
  }

  settle(): void {
    this.#engine.settle();
  }

  [Symbol.dispose](): void {
    this.#engine.buffers[Symbol.dispose]();
  }

  /** Up to where something may be beyond the old end: in its last cluster, and in backing files. */
  #hidden(capacity: number): number {
    const { image, layers, clusterSize } = this.#engine;
    const below = layers.slice(1).reduce((end, { size }) => Math.max(end, size), 0);
    return Math.min(capacity, Math.max(below, Math.ceil(image.size / clusterSize) * clusterSize));
  }

  #refuses(request: number): boolean {
    const { refusal } = this.#engine;
    if (refusal === 0) return false;
    this.#context.done(request, refusal);
    return true;
  }

  #begin(id: number, kind: Kind, count: number, offset: number, length: number, mayUnmap: boolean): void {
    const engine = this.#engine;
    const request = engine.requests[id] as Request;
    request.active = true;
    request.kind = kind;
    request.phase = Phase.none;
    request.offset = offset;
    request.left = length;
    request.mayUnmap = mayUnmap;
    request.first = 0;
    request.count = count;
    request.clusters = 0;
    request.slot = -1;
    engine.runnable.push(request);
    engine.drain();
  }

  #step(request: Request): void {
    const engine = this.#engine;
    // A request that has waited may find that nothing is written any more.
    if (request.kind !== Kind.read && engine.refusal !== 0) {
      engine.end(request, engine.refusal);
      return;
    }
    switch (request.kind) {
      case Kind.read:
        stepRead(engine, request);
        return;
      case Kind.write:
        stepWrite(engine, request);
        return;
      case Kind.zeroes:
        stepZeroes(engine, this.#means, request);
        return;
      case Kind.discard:
        stepDiscard(engine, request);
        return;
      default:
        engine.cycle.flushes.push(request);
        engine.cycle.want();
    }
  }

  #finished(request: Request): void {
    const engine = this.#engine;
    if (request.phase === Phase.zeroRange || request.phase === Phase.pause) zeroed(engine, this.#means, request);
    else if (request.phase === Phase.read) engine.advance(request);
    else {
      if (request.phase === Phase.inPlace) engine.giveBackSlot(request);
      wrote(engine, request);
    }
  }

  #ended(request: Request, result: number): void {
    if (request.id < this.#context.requests) this.#context.done(request.id, result);
    else this.#resized?.(result);
  }
}
