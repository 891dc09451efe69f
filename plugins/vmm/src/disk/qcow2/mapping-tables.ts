// Where the guest's clusters are: the L1 table, held whole, and slices of L2 tables in a bounded cache. An entry is kept
// decoded as one number, so that the way of a request to an allocated cluster is one lookup. Changes go to the file at
// once (pwrite), so a slice in the cache never holds more than the file does, and may be dropped at any time.

import { errors } from '../../errors.ts';
import { errnoOf, type ImageFile } from '../image-file.ts';
import type { Qcow2Header } from './header.ts';

/** A positive number is the host offset of a data cluster that only this entry refers to; the others say what it is: */
export const UNALLOCATED = 0;
export const ZERO = -1;
/** Reads as zeroes, and has a host cluster nevertheless. */
export const ZERO_ALLOCATED = -2;
/** Data which is not to be written in place (the "copied" flag is missing). */
export const SHARED = -3;
export const COMPRESSED = -4;
/** An entry that cannot be followed. */
export const CORRUPT = -5;

const TWO_32 = 2 ** 32;
/** Entries in a slice: 4 KiB of the file. */
const SLICE_ENTRIES = 512;
/** Bits 9–55: of the upper word the lower 24. */
const OFFSET_HIGH = 0x00ff_ffff;
const COPIED = 0x8000_0000;
const COMPRESSED_BIT = 0x4000_0000;
const RESERVED_HIGH = 0x3f00_0000;
const RESERVED_LOW = 0x1fe;
const ZERO_BIT = 1;

/** An L2 entry as it is in the file. */
export interface RawEntry {
  high: number;
  low: number;
}

/** Where a compressed cluster lies. */
export interface CompressedExtent {
  readonly offset: number;
  /** Upper bound: to the end of the last 512-byte sector. */
  readonly length: number;
}

interface Slice {
  key: number;
  entries: Float64Array;
  recent: boolean;
}

export interface MappingTablesOptions {
  /** Whether the copied flag matters: only to those who write. */
  readonly writable: boolean;
  /** Of the cache, in bytes of L2 table; default 4 MiB. */
  readonly cacheBytes?: number;
  /** Clusters that no entry may point to. */
  isReserved(offset: number): boolean;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export class MappingTables {
  readonly clusterSize: number;
  readonly entriesPerTable: number;
  readonly sliceEntries: number;
  readonly #file: ImageFile;
  readonly #version: number;
  readonly #clusterBits: number;
  readonly #options: MappingTablesOptions;
  readonly #slices: Slice[] = [];
  readonly #bySlice = new Map<number, Slice>();
  readonly #maxSlices: number;
  readonly #buffer: Buffer;
  readonly #update: Buffer;
  /** Host offset of each L2 table, 0 where there is none, −1 where the entry cannot be followed. */
  #l1: Float64Array;
  #l1Offset: number;
  #hand = 0;
  #last: Slice | undefined;
  #warned = false;

  /** @throws VMM_ERR_DISK_CORRUPT */
  constructor(file: ImageFile, header: Qcow2Header, options: MappingTablesOptions) {
    this.#file = file;
    this.#version = header.version;
    this.#clusterBits = header.clusterBits;
    this.#options = options;
    this.clusterSize = 2 ** header.clusterBits;
    this.entriesPerTable = this.clusterSize / 8;
    this.sliceEntries = Math.min(SLICE_ENTRIES, this.entriesPerTable);
    this.#maxSlices = Math.max(2, Math.floor((options.cacheBytes ?? 4 * 2 ** 20) / (this.sliceEntries * 8)));
    this.#buffer = Buffer.allocUnsafeSlow(this.sliceEntries * 8);
    this.#update = Buffer.allocUnsafeSlow(this.sliceEntries * 8);
    this.#l1Offset = header.l1Offset;
    this.#l1 = this.#readL1(header);
  }

  get l1Size(): number {
    return this.#l1.length;
  }

  get l1Offset(): number {
    return this.#l1Offset;
  }

  /** Host offsets of the L2 tables there are. */
  *tables(): Generator<number> {
    for (const offset of this.#l1) if (offset > 0) yield offset;
  }

  hasTable(cluster: number): boolean {
    return (this.#l1[Math.floor(cluster / this.entriesPerTable)] as number) > 0;
  }

  /** The decoded entry of a guest cluster within the disk. @throws what reading the table failed with */
  entry(cluster: number): number {
    const key = Math.floor(cluster / this.sliceEntries);
    const last = this.#last;
    if (last !== undefined && last.key === key) return last.entries[cluster - key * this.sliceEntries] as number;
    const slice = this.#slice(key, cluster);
    if (typeof slice === 'number') return slice;
    return slice.entries[cluster - key * this.sliceEntries] as number;
  }

  /** The first cluster after `cluster` that another slice, or the absence of another table, speaks for. */
  sliceEnd(cluster: number): number {
    const key = Math.floor(cluster / this.sliceEntries);
    return (key + 1) * this.sliceEntries;
  }

  /** The first cluster after those of the L2 table of `cluster`. */
  tableEnd(cluster: number): number {
    return (Math.floor(cluster / this.entriesPerTable) + 1) * this.entriesPerTable;
  }

  /** For what the decoded entry leaves out. The table is there. */
  raw(cluster: number): RawEntry {
    const bytes = this.#buffer.subarray(0, 8);
    if (this.#file.read(bytes, this.#entryAt(cluster)) < 8) bytes.fill(0);
    return { high: bytes.readUInt32BE(0), low: bytes.readUInt32BE(4) };
  }

  /** Host offset in an entry that has one: of a data cluster, or of one that reads as zeroes. */
  hostOffset(entry: RawEntry): number {
    return (entry.high & OFFSET_HIGH) * TWO_32 + (entry.low - (entry.low & 0x1ff));
  }

  compressed(entry: RawEntry): CompressedExtent {
    return decodeCompressed(entry.high, entry.low, this.#clusterBits);
  }

  /** The entry has a cluster of its own from now on: `host`, `host` + one cluster, … All are in one slice, with a table. */
  link(cluster: number, count: number, host: number): void {
    this.#write(cluster, count, (index) => {
      const offset = host + index * this.clusterSize;
      this.#put(index, (Math.floor(offset / TWO_32) | COPIED) >>> 0, offset % TWO_32);
      return offset;
    });
  }

  /** @param zero reads as zeroes rather than from the backing file. All are in one slice, with a table. */
  unlink(cluster: number, count: number, zero: boolean): void {
    this.#write(cluster, count, (index) => {
      this.#put(index, 0, zero ? ZERO_BIT : 0);
      return zero ? ZERO : UNALLOCATED;
    });
  }

  /** Puts an empty table at `host`, which reads as zeroes and is on stable storage. */
  linkTable(cluster: number, host: number): void {
    const index = Math.floor(cluster / this.entriesPerTable);
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32BE((Math.floor(host / TWO_32) | COPIED) >>> 0, 0);
    bytes.writeUInt32BE(host % TWO_32, 4);
    this.#file.write(bytes, this.#l1Offset + index * 8);
    this.#l1[index] = host;
  }

  /** The L1 table as it is to be in the file when it has `size` entries. */
  encodeL1(size: number): Buffer {
    const bytes = Buffer.alloc(size * 8);
    this.#l1.forEach((offset, index) => {
      if (offset === 0) return;
      bytes.writeUInt32BE((Math.floor(offset / TWO_32) | COPIED) >>> 0, index * 8);
      bytes.writeUInt32BE(offset % TWO_32, index * 8 + 4);
    });
    return bytes;
  }

  /** The L1 table lies elsewhere and is larger. */
  moved(offset: number, size: number): void {
    const larger = new Float64Array(size);
    larger.set(this.#l1);
    this.#l1 = larger;
    this.#l1Offset = offset;
  }

  #readL1(header: Qcow2Header): Float64Array {
    const bytes = Buffer.alloc(header.l1Size * 8);
    this.#file.read(bytes, header.l1Offset);
    const fileSize = this.#file.size();
    const l1 = new Float64Array(header.l1Size);
    for (let index = 0; index < l1.length; index += 1) {
      const high = bytes.readUInt32BE(index * 8);
      const low = bytes.readUInt32BE(index * 8 + 4);
      if (high === 0 && low === 0) continue;
      const offset = (high & OFFSET_HIGH) * TWO_32 + low;
      const bad =
        (high & (RESERVED_HIGH | COMPRESSED_BIT)) !== 0 ||
        offset === 0 ||
        offset % this.clusterSize !== 0 ||
        offset > fileSize - this.clusterSize;
      if (!bad) l1[index] = offset;
      else if (this.#options.writable)
        throw errors.VMM_ERR_DISK_CORRUPT({
          details: { image: this.#file.name, why: `entry ${index} of its L1 table points to where no table can be` },
        });
      else l1[index] = -1;
    }
    return l1;
  }

  #entryAt(cluster: number): number {
    const table = Math.floor(cluster / this.entriesPerTable);
    return (this.#l1[table] as number) + (cluster - table * this.entriesPerTable) * 8;
  }

  /** The slice, or what all of its entries are. */
  #slice(key: number, cluster: number): Slice | number {
    const found = this.#bySlice.get(key);
    if (found !== undefined) {
      found.recent = true;
      this.#last = found;
      return found;
    }
    const table = this.#l1[Math.floor(cluster / this.entriesPerTable)] as number;
    if (table <= 0) return table === 0 ? UNALLOCATED : CORRUPT;
    const bytes = this.#buffer;
    const read = this.#file.read(bytes, this.#entryAt(key * this.sliceEntries));
    if (read < bytes.length) bytes.fill(0, read);
    const slice = this.#victim();
    this.#decode(bytes, slice.entries, key);
    slice.key = key;
    slice.recent = true;
    this.#bySlice.set(key, slice);
    this.#last = slice;
    return slice;
  }

  /** A slice to overwrite: a new one, or one that was not used lately (clock). */
  #victim(): Slice {
    if (this.#slices.length < this.#maxSlices) {
      const slice: Slice = { key: -1, entries: new Float64Array(this.sliceEntries), recent: false };
      this.#slices.push(slice);
      return slice;
    }
    for (;;) {
      const slice = this.#slices[this.#hand] as Slice;
      this.#hand = (this.#hand + 1) % this.#slices.length;
      if (slice.recent) slice.recent = false;
      else {
        this.#forget(slice);
        return slice;
      }
    }
  }

  #forget(slice: Slice): void {
    this.#bySlice.delete(slice.key);
    if (this.#last === slice) this.#last = undefined;
    slice.key = -1;
    slice.recent = false;
  }

  #decode(bytes: Buffer, entries: Float64Array, key: number): void {
    const fileSize = this.#file.size();
    const words = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let index = 0; index < entries.length; index += 1) {
      const value = this.#decodeEntry(words.getUint32(index * 8), words.getUint32(index * 8 + 4), fileSize);
      entries[index] = value;
      if (value !== CORRUPT || this.#warned) continue;
      this.#warned = true;
      this.#options.warn('an entry of an L2 table cannot be followed; such clusters cannot be read', {
        image: this.#file.name,
        cluster: key * this.sliceEntries + index,
      });
    }
  }

  #decodeEntry(high: number, low: number, fileSize: number): number {
    if ((high | low) === 0) return UNALLOCATED;
    if ((high & COMPRESSED_BIT) !== 0) {
      if (high >>> 31 !== 0) return CORRUPT;
      const { offset } = decodeCompressed(high, low, this.#clusterBits);
      return offset > 0 && offset < fileSize ? COMPRESSED : CORRUPT;
    }
    if ((high & RESERVED_HIGH) !== 0 || (low & RESERVED_LOW) !== 0) return CORRUPT;
    const zero = (low & ZERO_BIT) !== 0;
    if (zero && this.#version === 2) return CORRUPT;
    const offset = (high & OFFSET_HIGH) * TWO_32 + (low - (low & 0x1ff));
    if (offset === 0) return zero && high >>> 31 === 0 ? ZERO : CORRUPT;
    if (offset % this.clusterSize !== 0 || offset >= fileSize || this.#options.isReserved(offset)) return CORRUPT;
    if (zero) return ZERO_ALLOCATED;
    return high >>> 31 === 1 || !this.#options.writable ? offset : SHARED;
  }

  #put(index: number, high: number, low: number): void {
    this.#update.writeUInt32BE(high, index * 8);
    this.#update.writeUInt32BE(low, index * 8 + 4);
  }

  #write(cluster: number, count: number, entryOf: (index: number) => number): void {
    const key = Math.floor(cluster / this.sliceEntries);
    const slice = this.#slice(key, cluster);
    if (typeof slice === 'number') throw new Error(`cluster ${cluster} has no L2 table`);
    const first = cluster - key * this.sliceEntries;
    try {
      for (let index = 0; index < count; index += 1) slice.entries[first + index] = entryOf(index);
      this.#file.write(this.#update.subarray(0, count * 8), this.#entryAt(cluster));
    } catch (e) {
      // What the file holds now is read again when it is asked for.
      this.#forget(slice);
      throw Object.assign(new Error('the L2 table was not written', { cause: e }), { errno: errnoOf(e) });
    }
  }
}

/** Docs "Compressed Clusters Descriptor". */
export function decodeCompressed(high: number, low: number, clusterBits: number): CompressedExtent {
  // The offset has 62 − (clusterBits − 8) bits, 49 to 61; bits above 55 have to be 0, so that what is larger than any
  // file is refused by whoever compares it with one.
  const bits = 62 - (clusterBits - 8);
  const descriptorHigh = high & 0x3fff_ffff;
  const offsetHigh = bits - 32 >= 30 ? descriptorHigh : descriptorHigh & (2 ** (bits - 32) - 1);
  const sectors = Math.floor(descriptorHigh / 2 ** (bits - 32)) + 1;
  const offset = offsetHigh * TWO_32 + low;
  return { offset, length: sectors * 512 - (offset % 512) };
}
