// Guest memory that a front end shares: one mapping for each region, or several for one that is larger than an ArrayBuffer.

import { closeSync, fstatSync } from 'node:fs';
import { errors } from '../../errors.ts';
import { MAX_MAPPING, type Mapping, mapFile, PAGE_SIZE } from '../../linux/mapping.ts';
import { sealsOf } from '../../linux/memfd.ts';
import type { MemoryRegionSpec } from '../guest-memory.ts';
import type { RegionDescription } from './payloads.ts';

export interface MappedRegion {
  readonly description: RegionDescription;
  readonly specs: readonly MemoryRegionSpec[];
  /** Nobody can make the file shorter, which would end this process at its next access. */
  readonly sealed: boolean;
  /** Device and inode of its file. */
  readonly file: string;
  /** How often it was added and not removed. */
  uses: number;
}

/** Bytes of one region: 512 mappings of 4 GiB. */
const MAX_REGION = 2 ** 41;

/**
 * Maps a region and closes `fd`. The file must hold all of it.
 * @throws SDK_ERR_VHOST_USER_REFUSED, LinuxError
 */
export function mapRegion(request: string, description: RegionDescription, fd: number): MappedRegion {
  const { guestAddress, size, userAddress, mmapOffset } = description;
  const refuse = (why: string): Error => errors.SDK_ERR_VHOST_USER_REFUSED({ details: { request, why } });
  const mappings: Mapping[] = [];
  try {
    const status = fstatSync(fd);
    if (!status.isFile()) throw refuse('memory must come as a file (memfd, hugetlbfs, /dev/shm)');
    if (size === 0 || mmapOffset + size > status.size) {
      throw refuse(`${size} bytes at offset ${mmapOffset} are not in a file of ${status.size}`);
    }
    if (size > MAX_REGION) throw refuse(`${size} bytes are more than ${MAX_REGION}`);
    // The offset of a mapping is a multiple of the file's page size, which is that of its huge pages.
    const page = Math.max(PAGE_SIZE, status.blksize);
    const specs: MemoryRegionSpec[] = [];
    for (let done = 0; done < size; ) {
      // Parts meet where guest addresses are multiples of 4 GiB: no buffer of Linux crosses such a one.
      const part = Math.min(size - done, MAX_MAPPING - ((guestAddress + done) % MAX_MAPPING), MAX_MAPPING - page);
      const offset = mmapOffset + done;
      const mappingOffset = offset % page;
      const length = roundUp(mappingOffset + part, page);
      const mapping = mapFile(fd, Math.min(length, status.size - offset + mappingOffset), {
        offset: offset - mappingOffset,
      });
      mappings.push(mapping);
      specs.push({
        guestAddress: guestAddress + done,
        size: part,
        userAddress: userAddress + done,
        mapping,
        mappingOffset,
      });
      done += part;
    }
    return { description, specs, sealed: isSealed(fd), file: fileOf(status), uses: 1 };
  } catch (e) {
    for (const mapping of mappings) mapping[Symbol.dispose]();
    throw e;
  } finally {
    closeSync(fd);
  }
}

const fileOf = ({ dev, ino }: { readonly dev: number; readonly ino: number }): string => `${dev}:${ino}`;

/** Whether the descriptor, which stays the caller's, is of the file that the region is mapped from. */
export function isOfFile({ file }: MappedRegion, fd: number): boolean {
  return fileOf(fstatSync(fd)) === file;
}

const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to;

function isSealed(fd: number): boolean {
  try {
    return sealsOf(fd).includes('shrink');
  } catch {
    // A file of a kind that has no seals.
    return false;
  }
}

export function unmapRegions(regions: Iterable<MappedRegion>): void {
  for (const { specs } of regions) for (const { mapping } of specs) mapping[Symbol.dispose]();
}
