// A new, empty qcow2 image: header, refcount table and blocks, and an L1 table without entries.

import { errors } from '../../errors.ts';
import type { ImageFile } from '../image-file.ts';
import { encodeHeader } from './header.ts';
import { setCount } from './refcounts.ts';

export interface CreateQcow2Options {
  /** Of the virtual disk, in bytes: a multiple of 512. */
  readonly size: number;
  /** Bytes, a power of two from 512 to 2 MiB; default 64 KiB. */
  readonly clusterSize?: number;
  /** 1, 2, 4, 8, 16, 32 or 64; default 16. */
  readonly refcountBits?: number;
  readonly backing?: { readonly file: string; readonly format: string };
}

export const DEFAULT_CLUSTER_SIZE = 64 * 1024;
const MAX_L1_BYTES = 32 * 2 ** 20;

/** @param file empty @throws VMM_ERR_DISK_SIZE, and what writing failed with */
export function createQcow2(file: ImageFile, options: CreateQcow2Options): void {
  const { size, clusterSize = DEFAULT_CLUSTER_SIZE, refcountBits = 16, backing } = options;
  const refuse = (why: string, hint: string) => errors.VMM_ERR_DISK_SIZE({ details: { why, hint } });
  const clusterBits = Math.log2(clusterSize);
  if (!Number.isInteger(clusterBits) || clusterBits < 9 || clusterBits > 21)
    throw refuse(`a cluster cannot have ${clusterSize} bytes`, 'Use a power of two from 512 to 2097152.');
  const refcountOrder = Math.log2(refcountBits);
  if (!Number.isInteger(refcountOrder) || refcountOrder < 0 || refcountOrder > 6)
    throw refuse(`a reference count cannot have ${refcountBits} bits`, 'Use 1, 2, 4, 8, 16, 32 or 64.');
  if (!Number.isSafeInteger(size) || size < 0 || size % 512 !== 0)
    throw refuse(`a disk cannot have ${size} bytes`, 'Use a multiple of 512.');
  const entriesPerTable = clusterSize / 8;
  const l1Size = Math.max(1, Math.ceil(Math.ceil(size / clusterSize) / entriesPerTable));
  if (l1Size * 8 > MAX_L1_BYTES)
    throw refuse(
      `${size} bytes are too many for clusters of ${clusterSize} bytes`,
      `Use larger clusters, or at most ${(MAX_L1_BYTES / 8) * entriesPerTable * clusterSize} bytes.`,
    );

  const perBlock = (clusterSize * 8) / refcountBits;
  const l1Clusters = Math.ceil((l1Size * 8) / clusterSize);
  let blocks = 1;
  let tableClusters = 1;
  const total = (): number => 1 + tableClusters + blocks + l1Clusters;
  // Blocks and table count themselves too, so that one more of them may need another.
  while (blocks * perBlock < total() || tableClusters * entriesPerTable < blocks) {
    blocks = Math.ceil(total() / perBlock);
    tableClusters = Math.ceil(blocks / entriesPerTable);
  }
  const blocksFirst = 1 + tableClusters;
  const l1First = blocksFirst + blocks;

  file.truncate(total() * clusterSize);
  const table = Buffer.alloc(blocks * 8);
  for (let index = 0; index < blocks; index += 1)
    table.writeBigUInt64BE(BigInt((blocksFirst + index) * clusterSize), index * 8);
  file.write(table, clusterSize);
  for (let index = 0; index < blocks; index += 1) {
    const block = new Uint8Array(clusterSize);
    const used = Math.min(perBlock, total() - index * perBlock);
    for (let entry = 0; entry < used; entry += 1) setCount(block, entry, refcountOrder, 1);
    file.write(block, (blocksFirst + index) * clusterSize);
  }
  // Last, so that what is cut off before is no image.
  file.sync();
  file.write(
    encodeHeader({
      clusterBits,
      size,
      l1Size,
      l1Offset: l1First * clusterSize,
      refcountTableOffset: clusterSize,
      refcountTableClusters: tableClusters,
      refcountOrder,
      ...(backing === undefined ? {} : { backing }),
    }),
    0,
  );
  file.sync();
}
