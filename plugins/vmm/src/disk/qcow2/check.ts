// Counts the references to each cluster and compares with what the image says. Cheap for what it reads: the tables, not
// the data. What it repairs are reference counts; an entry that points to nowhere is left to qemu-img.

import { errors } from '../../errors.ts';
import type { ImageFile } from '../image-file.ts';
import { type Qcow2Header, readHeader } from './header.ts';
import { decodeCompressed } from './mapping-tables.ts';
import { Refcounts } from './refcounts.ts';

const TWO_32 = 2 ** 32;
const OFFSET_HIGH = 0x00ff_ffff;
/** 128 MiB of memory; with 64 KiB clusters a file of 4 TiB. */
const MAX_CLUSTERS = 2 ** 26;
const MAX_COUNT = 0xffff;

export interface CheckResult {
  /** Clusters that are counted as used and are not. */
  readonly leaks: number;
  /** Clusters that are used more often than counted, and entries that cannot be followed. */
  readonly corruptions: number;
  /** Entries that cannot be followed; not repaired. */
  readonly badEntries: number;
  /** Guest clusters with data. */
  readonly allocated: number;
  /** References to each cluster of the file, at most 65535. */
  readonly references: Uint16Array;
  readonly refcounts: Refcounts;
}

/**
 * Reads only. @throws VMM_ERR_DISK_SNAPSHOTS, since those are not followed; VMM_ERR_DISK_CORRUPT when the file is too
 * large to be checked, or its refcount table cannot be used
 */
export function checkImage(file: ImageFile, header: Qcow2Header): CheckResult {
  if (header.snapshots > 0)
    throw errors.VMM_ERR_DISK_SNAPSHOTS({ details: { image: file.name, count: header.snapshots } });
  const clusterSize = 2 ** header.clusterBits;
  const fileSize = file.size();
  const clusters = Math.ceil(fileSize / clusterSize);
  if (clusters > MAX_CLUSTERS)
    throw errors.VMM_ERR_DISK_CORRUPT({
      details: { image: file.name, why: `a file of ${fileSize} bytes is too large to be checked here` },
    });
  const references = new Uint16Array(clusters);
  const refcounts = new Refcounts(file, header);
  let badEntries = 0;
  let allocated = 0;

  /** False when it lies outside the file. */
  const count = (offset: number, length: number): boolean => {
    if (length === 0) return true;
    const first = Math.floor(offset / clusterSize);
    const last = Math.floor((offset + length - 1) / clusterSize);
    if (last >= clusters) return false;
    for (let cluster = first; cluster <= last; cluster += 1)
      if ((references[cluster] as number) < MAX_COUNT) (references[cluster] as number) += 1;
    return true;
  };

  const table = Buffer.alloc(clusterSize);
  const countL2 = (offset: number): void => {
    const read = file.read(table, offset);
    table.fill(0, read);
    for (let at = 0; at < clusterSize; at += 8) {
      const high = table.readUInt32BE(at);
      const low = table.readUInt32BE(at + 4);
      if ((high | low) === 0) continue;
      let sound = true;
      if ((high & 0x4000_0000) !== 0) {
        const extent = decodeCompressed(high, low, header.clusterBits);
        // The last sector may be said to reach beyond the end of the file.
        sound = extent.offset < fileSize && count(extent.offset, Math.min(extent.length, fileSize - extent.offset));
      } else {
        const host = (high & OFFSET_HIGH) * TWO_32 + (low - (low & 0x1ff));
        sound = host % clusterSize === 0 && (host === 0 ? (low & 1) === 1 : count(host, clusterSize));
      }
      if (!sound) badEntries += 1;
      else allocated += 1;
    }
  };
  const countL1 = (offset: number, size: number): void => {
    if (!count(offset, size * 8)) {
      badEntries += 1;
      return;
    }
    const l1 = Buffer.alloc(size * 8);
    file.read(l1, offset);
    const seen = new Set<number>();
    for (let at = 0; at < l1.length; at += 8) {
      const host = (l1.readUInt32BE(at) & OFFSET_HIGH) * TWO_32 + l1.readUInt32BE(at + 4);
      if (host === 0) continue;
      // A table that the same L1 table names twice is counted once: it is damage, and following it would cost for ever.
      if (host % clusterSize !== 0 || seen.has(host) || !count(host, clusterSize)) badEntries += 1;
      else {
        seen.add(host);
        countL2(host);
      }
    }
  };

  count(0, clusterSize);
  countL1(header.l1Offset, header.l1Size);
  count(header.refcountTableOffset, header.refcountTableClusters * clusterSize);
  for (const offset of refcounts.blocks()) count(offset, clusterSize);

  let leaks = 0;
  let low = 0;
  for (let cluster = 0; cluster < clusters; cluster += 1) {
    const used = references[cluster] as number;
    const said = refcounts.get(cluster);
    if (said > used) leaks += 1;
    else if (said < used) low += 1;
  }
  for (const cluster of refcounts.countedFrom(clusters)) if (refcounts.get(cluster) > 0) leaks += 1;
  return { leaks, corruptions: low + badEntries, badEntries, allocated, references, refcounts };
}

/**
 * Makes the reference counts what the references are. @returns the header, which may be another one afterwards
 * @throws VMM_ERR_DISK_CORRUPT when there is other damage; what writing failed with
 */
export function repairImage(file: ImageFile): Qcow2Header {
  if (coverReferences(file, readHeader(file))) file.sync();
  const header = readHeader(file);
  const { references, refcounts, badEntries } = checkImage(file, header);
  const refuse = (why: string) => errors.VMM_ERR_DISK_CORRUPT({ details: { image: file.name, why } });
  if (badEntries > 0) throw refuse(`${badEntries} entries of its tables point to where nothing can be`);
  for (let cluster = 0; cluster < references.length; cluster += 1) {
    const used = references[cluster] as number;
    if (used > refcounts.max) throw refuse(`cluster ${cluster} is used ${used} times, more than can be counted`);
    if (refcounts.get(cluster) !== used) refcounts.set(cluster, used);
  }
  // The file may have been cut off where clusters had been set aside.
  for (const cluster of refcounts.countedFrom(references.length))
    if (refcounts.get(cluster) > 0) refcounts.set(cluster, 0);
  refcounts.flush();
  file.sync();
  return header;
}

/** Refcount blocks for all that is referred to, at the end of the file, where nothing that is in use can be. */
function coverReferences(file: ImageFile, header: Qcow2Header): boolean {
  const { references, refcounts } = checkImage(file, header);
  const { perBlock } = refcounts;
  let end = references.length;
  for (let base = 0; base < references.length; base += perBlock) {
    const used = references.subarray(base, base + perBlock).some((count) => count > 0);
    if (used && !refcounts.hasBlock(base / perBlock)) end = refcounts.cover(end, 0, [base, base + 1]);
  }
  return end > references.length;
}
