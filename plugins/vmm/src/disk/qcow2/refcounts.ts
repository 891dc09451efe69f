// How often each host cluster is referred to: the refcount table, held whole, and its blocks in a small cache. Changes
// are collected in the cached blocks and written by flush(); it is for the caller to put a barrier where the order on
// stable storage matters.

import { errors } from '../../errors.ts';
import type { ImageFile } from '../image-file.ts';
import { HEADER_AT, type Qcow2Header } from './header.ts';

const TWO_32 = 2 ** 32;
/** Of cached blocks, in bytes; always at least two blocks. */
const CACHE_BYTES = 2 * 2 ** 20;

/** Clusters beyond the end of the file that a check looks at. */
const MAX_COUNTED = 2 ** 26;

interface Block {
  readonly index: number;
  readonly bytes: Uint8Array;
  /** Range of bytes that the file does not hold yet. */
  dirtyFrom: number;
  dirtyTo: number;
}

export class Refcounts {
  readonly clusterSize: number;
  /** Clusters that one block counts. */
  readonly perBlock: number;
  readonly #file: ImageFile;
  readonly #order: number;
  readonly #blocks = new Map<number, Block>();
  readonly #maxBlocks: number;
  /** Host offset of each block, 0 where there is none. */
  #table: Float64Array;
  #tableOffset: number;
  #tableClusters: number;
  #revision = 0;

  /** @throws VMM_ERR_DISK_CORRUPT when the table points to where no block can be */
  constructor(file: ImageFile, header: Qcow2Header) {
    this.#file = file;
    this.#order = header.refcountOrder;
    this.clusterSize = 2 ** header.clusterBits;
    this.perBlock = (this.clusterSize * 8) / 2 ** header.refcountOrder;
    this.#maxBlocks = Math.max(2, Math.floor(CACHE_BYTES / this.clusterSize));
    this.#tableOffset = header.refcountTableOffset;
    this.#tableClusters = header.refcountTableClusters;
    this.#table = this.#readTable();
  }

  get tableOffset(): number {
    return this.#tableOffset;
  }

  get tableClusters(): number {
    return this.#tableClusters;
  }

  /** The largest count there can be. */
  get max(): number {
    return this.#order >= 6 ? Number.MAX_SAFE_INTEGER : 2 ** (2 ** this.#order) - 1;
  }

  /** Changes whenever there are more blocks, or the table lies elsewhere. */
  get revision(): number {
    return this.#revision;
  }

  /** Host offsets of the blocks there are. */
  *blocks(): Generator<number> {
    for (const offset of this.#table) if (offset > 0) yield offset;
  }

  hasBlock(index: number): boolean {
    return (this.#table[index] ?? 0) > 0;
  }

  get(cluster: number): number {
    const index = Math.floor(cluster / this.perBlock);
    const block = this.#block(index);
    return block === undefined ? 0 : getCount(block.bytes, cluster - index * this.perBlock, this.#order);
  }

  /** There has to be a block for it, see cover(). */
  set(cluster: number, value: number): void {
    const index = Math.floor(cluster / this.perBlock);
    const block = this.#block(index);
    if (block === undefined) throw new Error(`cluster ${cluster} has no refcount block`);
    const entry = cluster - index * this.perBlock;
    setCount(block.bytes, entry, this.#order, value);
    const width = 2 ** this.#order / 8;
    const from = Math.floor(entry * width);
    block.dirtyFrom = Math.min(block.dirtyFrom, from);
    block.dirtyTo = Math.max(block.dirtyTo, from + Math.max(1, width));
  }

  /**
   * The first cluster at or after `from` and before `end` that nobody refers to; `end` when there is none. Clusters
   * without a block are free.
   */
  findFree(from: number, end: number): number {
    let cluster = from;
    while (cluster < end) {
      const index = Math.floor(cluster / this.perBlock);
      const block = this.#block(index);
      if (block === undefined) return cluster;
      const base = index * this.perBlock;
      const found = findZero(block.bytes, cluster - base, this.#order);
      if (found >= 0) return Math.min(end, base + found);
      cluster = base + this.perBlock;
    }
    return end;
  }

  /** The clusters from `first` on that there are blocks for, as far as can be looked at in reasonable time. */
  *countedFrom(first: number): Generator<number> {
    let left = MAX_COUNTED;
    for (let index = Math.floor(first / this.perBlock); index < this.#table.length; index += 1) {
      if (!this.hasBlock(index)) continue;
      left -= this.perBlock;
      if (left < 0) return;
      const base = index * this.perBlock;
      for (let cluster = Math.max(first, base); cluster < base + this.perBlock; cluster += 1) yield cluster;
    }
  }

  /** Writes what was set. */
  flush(): void {
    for (const block of this.#blocks.values()) this.#write(block);
  }

  /** Forgets what was not written, after a failure: the file is asked again. */
  forget(): void {
    this.#blocks.clear();
  }

  /**
   * Makes blocks for `count` clusters to come at the end of the file, and for `also` where it is given, and a larger table
   * if need be. What it needs itself comes first there. Durable when it returns, and in an order in which nothing is
   * referred to before it is durable.
   * @param end clusters of the file @returns the first of the clusters to come
   */
  cover(end: number, count: number, also?: readonly [first: number, last: number]): number {
    const plan = this.#plan(end, count, also);
    if (plan === undefined) return end;
    const { blocks, tableClusters, metaFirst, metaEnd } = plan;
    const { clusterSize } = this;
    this.#file.truncate((metaEnd + count) * clusterSize);

    const table = new Float64Array(Math.max(this.#table.length, (tableClusters * clusterSize) / 8));
    table.set(this.#table);
    const made = new Map<number, Uint8Array>();
    blocks.forEach((index, position) => {
      table[index] = (metaFirst + position) * clusterSize;
      made.set(index, new Uint8Array(clusterSize));
    });
    for (let cluster = metaFirst; cluster < metaEnd; cluster += 1) {
      const index = Math.floor(cluster / this.perBlock);
      const bytes = made.get(index);
      if (bytes === undefined) this.set(cluster, 1);
      else setCount(bytes, cluster - index * this.perBlock, this.#order, 1);
    }
    for (const [index, bytes] of made) this.#file.write(bytes, table[index] as number);
    this.flush();
    const tableFirst = metaFirst + blocks.length;
    if (tableClusters > 0) this.#file.write(encodeTable(table, 0, table.length), tableFirst * clusterSize);
    this.#file.sync();

    this.#revision += 1;
    if (tableClusters === 0) {
      this.#table = table;
      for (const index of blocks) this.#file.write(encodeTable(table, index, index + 1), this.#tableOffset + index * 8);
    } else {
      const header = Buffer.alloc(12);
      header.writeBigUInt64BE(BigInt(tableFirst * clusterSize), 0);
      header.writeUInt32BE(tableClusters, 8);
      this.#file.write(header, HEADER_AT.refcountTableOffset);
      this.#file.sync();
      const old = { offset: this.#tableOffset, clusters: this.#tableClusters };
      this.#table = table;
      this.#tableOffset = tableFirst * clusterSize;
      this.#tableClusters = tableClusters;
      for (let cluster = 0; cluster < old.clusters; cluster += 1) this.set(old.offset / clusterSize + cluster, 0);
      this.flush();
    }
    return metaEnd;
  }

  /** Which blocks are missing, also for what they take themselves, until that changes no more. */
  #plan(
    end: number,
    count: number,
    also: readonly [first: number, last: number] | undefined,
  ): { blocks: number[]; tableClusters: number; metaFirst: number; metaEnd: number } | undefined {
    let blocks: number[] = [];
    let tableClusters = 0;
    for (;;) {
      const metaEnd = end + blocks.length + tableClusters;
      const last = metaEnd + count;
      const missing: number[] = [];
      for (const [from, to] of also === undefined ? [[end, last] as const] : [also, [end, last] as const])
        for (let index = Math.floor(from / this.perBlock); index * this.perBlock < to; index += 1)
          if (!this.hasBlock(index) && !missing.includes(index)) missing.push(index);
      const top = Math.floor((Math.max(last, also?.[1] ?? 0) - 1) / this.perBlock);
      const capacity = (tableClusters === 0 ? this.#tableClusters : tableClusters) * (this.clusterSize / 8);
      // Half as many again, so that a growing image moves its table seldom.
      const wanted = top < capacity ? tableClusters : Math.ceil(((top + 1) * 1.5 * 8) / this.clusterSize) + 1;
      if (missing.length === 0 && wanted === 0) return undefined;
      if (missing.length === blocks.length && wanted === tableClusters)
        return { blocks, tableClusters, metaFirst: end, metaEnd };
      blocks = missing;
      tableClusters = wanted;
    }
  }

  #readTable(): Float64Array {
    const bytes = Buffer.alloc(this.#tableClusters * this.clusterSize);
    this.#file.read(bytes, this.#tableOffset);
    const fileSize = this.#file.size();
    const table = new Float64Array(bytes.length / 8);
    for (let index = 0; index < table.length; index += 1) {
      const high = bytes.readUInt32BE(index * 8);
      const low = bytes.readUInt32BE(index * 8 + 4);
      if (high === 0 && low === 0) continue;
      const offset = high * TWO_32 + low;
      if (offset % this.clusterSize !== 0 || offset > fileSize - this.clusterSize)
        throw errors.VMM_ERR_DISK_CORRUPT({
          details: {
            image: this.#file.name,
            why: `entry ${index} of its refcount table points to where no block can be`,
          },
        });
      table[index] = offset;
    }
    return table;
  }

  #block(index: number): Block | undefined {
    const cached = this.#blocks.get(index);
    if (cached !== undefined) return cached;
    const offset = this.#table[index] ?? 0;
    if (offset === 0) return undefined;
    if (this.#blocks.size >= this.#maxBlocks) {
      const [oldest] = this.#blocks.values();
      if (oldest !== undefined) {
        this.#write(oldest);
        this.#blocks.delete(oldest.index);
      }
    }
    const bytes = new Uint8Array(this.clusterSize);
    this.#file.read(bytes, offset);
    const block = { index, bytes, dirtyFrom: Number.POSITIVE_INFINITY, dirtyTo: 0 };
    this.#blocks.set(index, block);
    return block;
  }

  #write(block: Block): void {
    if (block.dirtyTo === 0) return;
    const offset = this.#table[block.index] as number;
    this.#file.write(block.bytes.subarray(block.dirtyFrom, block.dirtyTo), offset + block.dirtyFrom);
    block.dirtyFrom = Number.POSITIVE_INFINITY;
    block.dirtyTo = 0;
  }
}

function encodeTable(table: Float64Array, from: number, to: number): Buffer {
  const bytes = Buffer.alloc((to - from) * 8);
  for (let index = from; index < to; index += 1)
    bytes.writeBigUInt64BE(BigInt(table[index] as number), (index - from) * 8);
  return bytes;
}

/** An entry of a refcount block: big-endian, and below 8 bits the first one in the lowest bits. */
export function getCount(bytes: Uint8Array, entry: number, order: number): number {
  if (order < 3) {
    const bits = 1 << order;
    const bit = entry * bits;
    return ((bytes[bit >>> 3] as number) >>> (bit & 7)) & ((1 << bits) - 1);
  }
  const width = 1 << (order - 3);
  let value = 0;
  for (let at = entry * width; at < (entry + 1) * width; at += 1) value = value * 256 + (bytes[at] as number);
  return value;
}

export function setCount(bytes: Uint8Array, entry: number, order: number, value: number): void {
  if (order < 3) {
    const bits = 1 << order;
    const bit = entry * bits;
    const mask = ((1 << bits) - 1) << (bit & 7);
    bytes[bit >>> 3] = ((bytes[bit >>> 3] as number) & ~mask) | ((value << (bit & 7)) & mask);
    return;
  }
  const width = 1 << (order - 3);
  let rest = value;
  for (let at = (entry + 1) * width - 1; at >= entry * width; at -= 1) {
    bytes[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** The first entry at or after `from` that is 0; −1 when there is none. */
function findZero(bytes: Uint8Array, from: number, order: number): number {
  // Byte order does not matter to a zero, and the search of a typed array is the engine's own.
  if (order === 3) return bytes.indexOf(0, from);
  if (order === 4) return new Uint16Array(bytes.buffer).indexOf(0, from);
  if (order === 5) return new Uint32Array(bytes.buffer).indexOf(0, from);
  if (order === 6) return new BigUint64Array(bytes.buffer).indexOf(0n, from);
  const entries = (bytes.length * 8) >> order;
  for (let entry = from; entry < entries; entry += 1) if (getCount(bytes, entry, order) === 0) return entry;
  return -1;
}
