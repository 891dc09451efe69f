// From a chain of descriptors to a request of the store, and from its end to a used buffer. Each request in flight has a
// number, which finds what is known of it in arrays: nothing is allocated for one.

import type { Chain, Virtqueue } from '@runtime/sdk/virtio';
import type { ErrorLog } from './error-log.ts';
import type { IovecTable } from './iovec-table.ts';
import { HEADER_BYTES, ID_BYTES, LIFETIME_BYTES, RequestType, SECTOR, Status } from './protocol.ts';
import { Ranges } from './ranges.ts';
import type { BlockStats } from './stats.ts';
import type { BlockStore } from './store.ts';

/** What a request is at. */
const Stage = { data: 0, ranges: 1, sync: 2 } as const;

/**
 * Requests that are taken before the driver is told of those that have ended. It has to wake up first, and what it asks for
 * next should be there before the device runs out of work: with 32 in flight, a quarter of them is quicker than half or all.
 */
const BATCH = 8;
/** The same, in bytes: long ones take the time in which the driver could ask for more. */
const BATCH_BYTES = 4 * 2 ** 20;
/** The same, in bytes to write, which are copied one request after the other. */
const BATCH_WRITTEN = 2 ** 20;

const NO_LIFETIME = new Uint8Array(LIFETIME_BYTES);

export interface MachineOptions {
  readonly requests: number;
  readonly iovecs: IovecTable;
  readonly readonly: boolean;
  readonly discard: boolean;
  readonly serial: string;
  readonly stats: BlockStats;
  readonly errorLog: ErrorLog;
}

export class RequestMachine {
  /** Writes are on stable storage before they end, as the driver cannot or does not want to flush. */
  writeThrough = false;
  readonly store: BlockStore;
  readonly #iovecs: IovecTable;
  readonly #readonly: boolean;
  readonly #discard: boolean;
  readonly #id = new Uint8Array(ID_BYTES);
  readonly #stats: BlockStats;
  readonly #errorLog: ErrorLog;

  readonly #requests: number;
  /** Numbers that are free, as a stack. */
  readonly #free: Uint16Array;
  #freeCount: number;
  readonly #queue: (Virtqueue | undefined)[];
  readonly #head: Uint16Array;
  readonly #type: Uint8Array;
  readonly #stage: Uint8Array;
  /**
   * All of the writable part, also where less was written: the status is its last byte, and what lies beyond the used
   * length is not copied when the guest migrates.
   */
  readonly #written: Float64Array;
  readonly #statusMemory: (Uint8Array | undefined)[];
  readonly #statusAt: Float64Array;
  readonly #ranges: (Ranges | undefined)[];

  /** @param open opens the store, which tells the end of a request with `done` */
  constructor(options: MachineOptions, open: (done: (request: number, result: number) => void) => BlockStore) {
    const { requests } = options;
    this.store = open((request, result) => this.#done(request, result));
    this.#iovecs = options.iovecs;
    this.#readonly = options.readonly;
    this.#discard = options.discard;
    new TextEncoder().encodeInto(options.serial, this.#id);
    this.#stats = options.stats;
    this.#errorLog = options.errorLog;

    this.#requests = requests;
    this.#free = Uint16Array.from({ length: requests }, (_, i) => requests - 1 - i);
    this.#freeCount = requests;
    this.#queue = new Array(requests).fill(undefined);
    this.#head = new Uint16Array(requests);
    this.#type = new Uint8Array(requests);
    this.#stage = new Uint8Array(requests);
    this.#written = new Float64Array(requests);
    this.#statusMemory = new Array(requests).fill(undefined);
    this.#statusAt = new Float64Array(requests);
    this.#ranges = new Array(requests).fill(undefined);
  }

  get inFlight(): number {
    return this.#requests - this.#freeCount;
  }

  /** Takes what is in the queue, as far as requests may be in flight and up to a batch. The loop comes back for the rest. */
  process(queue: Virtqueue): void {
    let bytes = 0;
    let written = 0;
    for (let taken = 0; taken < BATCH && this.#freeCount > 0; taken++) {
      if (bytes >= BATCH_BYTES || written >= BATCH_WRITTEN) break;
      const chain = queue.pop();
      if (chain === undefined) break;
      written += chain.readableBytes;
      bytes += chain.readableBytes + chain.writableBytes;
      this.#begin(queue, chain);
    }
    const { inFlight } = this;
    if (inFlight > this.#stats.inFlightMax) this.#stats.inFlightMax = inFlight;
  }

  #begin(queue: Virtqueue, chain: Chain): void {
    const { readableBytes, writableBytes } = chain;
    if (writableBytes === 0) {
      // Nowhere to say that this is no request.
      this.#refused('no room for the status');
      queue.push(chain.head, 0);
      return;
    }
    const request = this.#take(queue, chain);
    if (readableBytes < HEADER_BYTES) {
      this.#refuse(request, Status.ioError, 'the header is too short');
      return;
    }
    const type = chain.readU32(0);
    this.#type[request] = type;
    switch (type) {
      case RequestType.in:
        this.#beginRead(request, chain, writableBytes - 1);
        return;
      case RequestType.out:
        this.#beginWrite(request, chain, readableBytes - HEADER_BYTES);
        return;
      case RequestType.flush:
        this.#stats.flushes += 1;
        this.#sync(request);
        return;
      case RequestType.getId:
        this.#answer(request, chain, this.#id);
        return;
      case RequestType.getLifetime:
        this.#answer(request, chain, NO_LIFETIME);
        return;
      case RequestType.discard:
      case RequestType.writeZeroes:
        this.#beginRanges(request, chain, type);
        return;
      default:
        this.#refuse(request, Status.unsupported, 'a request of a type that is not offered');
    }
  }

  #beginRead(request: number, chain: Chain, length: number): void {
    const offset = this.#offsetOf(chain, length);
    const count = chain.count - chain.readable;
    if (offset < 0 || count > this.#iovecs.perRequest) {
      this.#refuse(request, Status.ioError, 'a read beyond the disk or of no whole sectors');
      return;
    }
    const stats = this.#stats;
    stats.reads += 1;
    stats.bytesRead += length;
    const { words } = this.#iovecs;
    const iovecs = chain.iovecs('writable', 0, length, words, this.#iovecs.at(request, 0));
    this.store.read(request, iovecs, offset, length);
  }

  #beginWrite(request: number, chain: Chain, length: number): void {
    const offset = this.#offsetOf(chain, length);
    if (this.#readonly || offset < 0 || chain.readable > this.#iovecs.perRequest) {
      this.#refuse(request, Status.ioError, 'a write to a read-only disk, beyond it or of no whole sectors');
      return;
    }
    const stats = this.#stats;
    stats.writes += 1;
    stats.bytesWritten += length;
    const { words } = this.#iovecs;
    const iovecs = chain.iovecs('readable', HEADER_BYTES, length, words, this.#iovecs.at(request, 0));
    this.store.write(request, iovecs, offset, length);
  }

  #beginRanges(request: number, chain: Chain, type: number): void {
    if (type === RequestType.discard && !this.#discard) {
      this.#refuse(request, Status.unsupported, 'a discard, which is not offered');
      return;
    }
    this.#ranges[request] ??= new Ranges();
    const ranges = this.#ranges[request];
    const status = this.#readonly ? Status.ioError : ranges.parse(chain, type, this.store.capacity);
    if (status !== Status.ok) {
      this.#refuse(request, status, 'ranges of a read-only disk, beyond it, too many or with unknown flags');
      return;
    }
    if (type === RequestType.discard) this.#stats.discards += 1;
    else this.#stats.writeZeroes += 1;
    this.#stage[request] = Stage.ranges;
    this.#nextRange(request);
  }

  #nextRange(request: number): void {
    const ranges = this.#ranges[request] as Ranges;
    const isDiscard = this.#type[request] === RequestType.discard;
    const i = ranges.next;
    if (i === ranges.count) {
      if (this.writeThrough && !isDiscard) this.#sync(request);
      else this.#end(request, Status.ok);
      return;
    }
    ranges.next = i + 1;
    const offset = ranges.offset[i] as number;
    const length = ranges.length[i] as number;
    if (isDiscard) this.store.discard(request, offset, length);
    else this.store.writeZeroes(request, offset, length, this.#discard && ranges.mayUnmap[i] === 1);
  }

  #sync(request: number): void {
    this.#stage[request] = Stage.sync;
    this.store.flush(request);
  }

  #answer(request: number, chain: Chain, bytes: Uint8Array): void {
    const length = Math.min(chain.writableBytes - 1, bytes.length);
    chain.write(length === bytes.length ? bytes : bytes.subarray(0, length));
    this.#end(request, Status.ok);
  }

  /** Bytes from the beginning of the disk; −1 when the request is not within it. */
  #offsetOf(chain: Chain, length: number): number {
    const offset = chain.readU64(8) * SECTOR;
    // NaN, a sector that is no safe integer, fails the comparison as well.
    const isWithin = offset + length <= this.store.capacity;
    return isWithin && length % SECTOR === 0 ? offset : -1;
  }

  #take(queue: Virtqueue, chain: Chain): number {
    this.#freeCount -= 1;
    const request = this.#free[this.#freeCount] as number;
    const last = chain.count - 1;
    const region = chain.region[last] as (typeof chain.region)[number];
    this.#queue[request] = queue;
    this.#head[request] = chain.head;
    this.#stage[request] = Stage.data;
    this.#written[request] = chain.writableBytes;
    this.#statusMemory[request] = region.u8;
    this.#statusAt[request] = (chain.guest[last] as number) - region.guestAddress + (chain.length[last] as number) - 1;
    return request;
  }

  /** The store has ended a request. */
  #done(request: number, result: number): void {
    if (result < 0) {
      this.#failed(request, result);
      return;
    }
    const stage = this.#stage[request];
    if (stage === Stage.ranges) {
      this.#nextRange(request);
      return;
    }
    if (stage === Stage.data && this.writeThrough && this.#type[request] === RequestType.out) {
      this.#sync(request);
      return;
    }
    this.#end(request, Status.ok);
  }

  #end(request: number, status: number): void {
    (this.#statusMemory[request] as Uint8Array)[this.#statusAt[request] as number] = status;
    (this.#queue[request] as Virtqueue).push(this.#head[request] as number, this.#written[request] as number);
    this.#free[this.#freeCount] = request;
    this.#freeCount += 1;
  }

  #failed(request: number, result: number): void {
    this.#stats.errors += 1;
    this.#errorLog.warn('a request failed', { type: this.#type[request], errno: -result });
    this.#end(request, Status.ioError);
  }

  #refuse(request: number, status: number, why: string): void {
    this.#refused(why);
    this.#end(request, status);
  }

  #refused(why: string): void {
    this.#stats.refused += 1;
    this.#errorLog.warn('the driver sent a bad request', { why });
  }
}
