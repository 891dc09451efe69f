// A qcow2 image that is open: its header, tables and refcounts, and the changes to it that need several of them at once.

import { errors } from '../../errors.ts';
import type { ImageFile } from '../image-file.ts';
import { checkImage, repairImage } from './check.ts';
import { ClusterPool } from './cluster-pool.ts';
import { Decompressor } from './decompress.ts';
import { HEADER_AT, INCOMPATIBLE_CORRUPT, INCOMPATIBLE_DIRTY, type Qcow2Header, readHeader } from './header.ts';
import { COMPRESSED, MappingTables, SHARED, ZERO_ALLOCATED } from './mapping-tables.ts';
import { Refcounts } from './refcounts.ts';

const MAX_L1_ENTRIES = (32 * 2 ** 20) / 8;

export interface OpenQcow2Options {
  readonly writable: boolean;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

export class Qcow2Image {
  readonly file: ImageFile;
  readonly header: Qcow2Header;
  readonly clusterSize: number;
  readonly tables: MappingTables;
  readonly decompressor: Decompressor;
  /** Only of an image that is open for writing. */
  readonly writing: { readonly refcounts: Refcounts; readonly pool: ClusterPool } | undefined;
  readonly #metadata: Set<number>;
  #size: number;
  #incompatible: bigint;

  /**
   * Opens the image; one that was not closed properly is checked and repaired first.
   * @throws VMM_ERR_DISK_FORMAT, VMM_ERR_DISK_FEATURE, VMM_ERR_DISK_CORRUPT; when writable VMM_ERR_DISK_SNAPSHOTS
   */
  static open(file: ImageFile, options: OpenQcow2Options): Qcow2Image {
    const header = readHeader(file);
    return new Qcow2Image(file, options.writable ? prepareForWriting(file, header, options) : header, options);
  }

  private constructor(file: ImageFile, header: Qcow2Header, options: OpenQcow2Options) {
    this.file = file;
    this.header = header;
    this.clusterSize = 2 ** header.clusterBits;
    this.#size = header.size;
    this.#incompatible = header.incompatible;
    const metadata = new Set<number>([0]);
    this.#metadata = metadata;
    this.tables = new MappingTables(file, header, {
      writable: options.writable,
      isReserved: (offset) => metadata.has(offset),
      warn: options.warn,
    });
    this.decompressor = new Decompressor(file, this.clusterSize, header.compression);
    if (!options.writable) {
      this.writing = undefined;
      return;
    }
    const refcounts = new Refcounts(file, header);
    this.writing = { refcounts, pool: new ClusterPool(file, refcounts, (offset) => metadata.has(offset)) };
    for (const offset of this.tables.tables()) metadata.add(offset);
    this.noteMetadata();
  }

  /** Of the virtual disk, in bytes. */
  get size(): number {
    return this.#size;
  }

  /** Takes note of refcount blocks and tables that were added: nothing of the guest's may point there. */
  noteMetadata(): void {
    const { refcounts } = this.#writing();
    for (const offset of refcounts.blocks()) this.#metadata.add(offset);
    const { l1Offset, l1Size } = this.tables;
    for (let at = 0; at < l1Size * 8; at += this.clusterSize) this.#metadata.add(l1Offset + at);
    for (let index = 0; index < refcounts.tableClusters; index += 1)
      this.#metadata.add(refcounts.tableOffset + index * this.clusterSize);
  }

  /** `host` becomes the L2 table of a guest cluster that has none. */
  linkTable(cluster: number, host: number): void {
    this.tables.linkTable(cluster, host);
    this.#metadata.add(host);
  }

  /**
   * Until the image is closed, clusters are set aside that nothing refers to. Version 2 cannot say so; what is lost in a
   * crash there is found by a check. Durable when it returns.
   */
  markDirty(): void {
    if ((this.#incompatible & INCOMPATIBLE_DIRTY) !== 0n || this.header.version === 2) return;
    this.#setIncompatible(this.#incompatible | INCOMPATIBLE_DIRTY);
    this.file.sync();
  }

  /** Host clusters, as first and count, that the entry of a guest cluster refers to. `value` is what it decodes to. */
  hostClusters(cluster: number, value: number): readonly [first: number, count: number] | undefined {
    const { clusterSize } = this;
    if (value > 0) return [value / clusterSize, 1];
    if (value === ZERO_ALLOCATED || value === SHARED)
      return [this.tables.hostOffset(this.tables.raw(cluster)) / clusterSize, 1];
    if (value === COMPRESSED) {
      const { offset, length } = this.tables.compressed(this.tables.raw(cluster));
      const first = Math.floor(offset / clusterSize);
      return [first, Math.floor((offset + length - 1) / clusterSize) - first + 1];
    }
    return undefined;
  }

  /** Room in the L1 table for a disk of `size` bytes. Durable when it returns. @throws VMM_ERR_DISK_SIZE; what a write failed with */
  reserveTables(size: number): void {
    const { tables, file, clusterSize } = this;
    const { pool, refcounts } = this.#writing();
    const entries = Math.ceil(Math.ceil(size / clusterSize) / tables.entriesPerTable);
    if (entries > MAX_L1_ENTRIES)
      throw errors.VMM_ERR_DISK_SIZE({
        details: {
          why: `${size} bytes are too many for clusters of ${clusterSize} bytes`,
          hint: `At most ${MAX_L1_ENTRIES * tables.entriesPerTable * clusterSize} bytes; an image with larger clusters holds more.`,
        },
      });
    if (entries <= tables.l1Size) return;
    this.markDirty();
    const old = { offset: tables.l1Offset, clusters: Math.ceil((tables.l1Size * 8) / clusterSize) };
    const first = pool.allocate(Math.ceil((entries * 8) / clusterSize));
    file.write(tables.encodeL1(entries), first * clusterSize);
    file.sync();
    const fields = Buffer.alloc(12);
    fields.writeUInt32BE(entries, 0);
    fields.writeBigUInt64BE(BigInt(first * clusterSize), 4);
    file.write(fields, HEADER_AT.l1Size);
    file.sync();
    tables.moved(first * clusterSize, entries);
    this.noteMetadata();
    if (old.offset === 0) return;
    pool.release(old.offset / clusterSize, old.clusters);
    refcounts.flush();
  }

  /** The tables have room for it, see reserveTables(). Durable when it returns. */
  setSize(size: number): void {
    const field = Buffer.alloc(8);
    field.writeBigUInt64BE(BigInt(size));
    this.file.write(field, HEADER_AT.size);
    this.file.sync();
    this.#size = size;
  }

  /** Gives back what was set aside, and says that the image is in order. Nothing is in flight. */
  close(): void {
    if (this.writing === undefined) return;
    this.file.sync();
    this.writing.pool.close();
    if ((this.#incompatible & INCOMPATIBLE_DIRTY) === 0n) return;
    this.file.sync();
    this.#setIncompatible(this.#incompatible & ~INCOMPATIBLE_DIRTY);
    this.file.sync();
  }

  #writing(): { readonly refcounts: Refcounts; readonly pool: ClusterPool } {
    if (this.writing === undefined) throw new Error(`${this.file.name} is open for reading`);
    return this.writing;
  }

  #setIncompatible(bits: bigint): void {
    if (this.header.version === 2 || bits === this.#incompatible) return;
    const field = Buffer.alloc(8);
    field.writeBigUInt64BE(bits);
    this.file.write(field, HEADER_AT.incompatible);
    this.#incompatible = bits;
  }
}

function prepareForWriting(file: ImageFile, header: Qcow2Header, options: OpenQcow2Options): Qcow2Header {
  const image = file.name;
  if ((header.incompatible & INCOMPATIBLE_CORRUPT) !== 0n)
    throw errors.VMM_ERR_DISK_CORRUPT({ details: { image, why: 'it is marked so' } });
  if (!file.grows)
    throw errors.VMM_ERR_DISK_FEATURE({
      details: {
        image,
        feature: 'a block device',
        hint: 'Put the image into a file, or the disk itself on the device: raw.',
      },
    });
  if (header.snapshots > 0) throw errors.VMM_ERR_DISK_SNAPSHOTS({ details: { image, count: header.snapshots } });
  if (header.refcountTableClusters === 0)
    throw errors.VMM_ERR_DISK_CORRUPT({ details: { image, why: 'it has no refcount table' } });
  // So that whatever is read lies within the file wholly.
  const clusterSize = 2 ** header.clusterBits;
  const size = file.size();
  if (size % clusterSize !== 0) file.truncate(Math.ceil(size / clusterSize) * clusterSize);
  if (header.autoclear !== 0n) {
    // Bitmaps and the like are not kept up to date, and have to say so before anything else is written.
    file.write(Buffer.alloc(8), HEADER_AT.autoclear);
    file.sync();
  }
  if ((header.incompatible & INCOMPATIBLE_DIRTY) === 0n) return header;
  const { leaks, corruptions } = checkImage(file, header);
  if (corruptions === 0 && leaks === 0) return header;
  options.warn('the image was not closed properly; its reference counts are put in order', {
    image,
    leaks,
    corruptions,
  });
  return repairImage(file);
}
