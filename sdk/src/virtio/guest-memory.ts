// Guest-physical memory as a device sees it: the front end's memory table, each region mapped here. Everything the guest
// says about memory (an address, a length) goes through find() before a byte is touched.

import { errors } from '../errors.ts';
import type { Mapping } from '../linux/mapping.ts';

export interface MemoryRegionSpec {
  /** Guest-physical address of the first byte; a multiple of 8. */
  readonly guestAddress: number;
  /** Bytes. */
  readonly size: number;
  /** Where the front end has it in its own address space: it names rings by such addresses. */
  readonly userAddress: number;
  readonly mapping: Mapping;
  /** Of the region's first byte in the mapping; a multiple of 8. */
  readonly mappingOffset: number;
}

/** One region. Its views cover exactly it: an index that is wrong reads `undefined`, never a neighbour. */
export class MemoryRegion {
  readonly guestAddress: number;
  readonly size: number;
  readonly userAddress: number;
  /** In this process, for system calls. */
  readonly hostAddress: number;
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly u16: Uint16Array<ArrayBuffer>;
  readonly u32: Uint32Array<ArrayBuffer>;

  constructor(spec: MemoryRegionSpec) {
    const { mapping, mappingOffset, size } = spec;
    this.guestAddress = spec.guestAddress;
    this.size = size;
    this.userAddress = spec.userAddress;
    this.hostAddress = mapping.address + mappingOffset;
    this.u8 = new Uint8Array(mapping.buffer, mappingOffset, size);
    this.u16 = new Uint16Array(mapping.buffer, mappingOffset, Math.floor(size / 2));
    this.u32 = new Uint32Array(mapping.buffer, mappingOffset, Math.floor(size / 4));
  }
}

/** What the front end may give at most: VHOST_USER_MAX_RAM_SLOTS of QEMU is 509. */
const MAX_REGIONS = 512;

/** Immutable: a changed memory table is a new GuestMemory. The mappings stay their owner's to unmap, after the last use. */
export class GuestMemory {
  static readonly EMPTY: GuestMemory = new GuestMemory([]);

  /** By guest address, ascending. */
  readonly regions: readonly MemoryRegion[];
  /** The region found last: requests cluster, so it is looked at first. */
  hit: MemoryRegion | undefined;

  private constructor(regions: readonly MemoryRegion[]) {
    this.regions = regions;
    this.hit = regions[0];
  }

  /** @throws SDK_ERR_VIRTIO_MEMORY when a region is misaligned, not in its mapping, too large, or overlaps another */
  static create(specs: readonly MemoryRegionSpec[]): GuestMemory {
    if (specs.length > MAX_REGIONS) throw refuse(`${specs.length} regions are more than ${MAX_REGIONS}`);
    for (const spec of specs) checkSpec(spec);
    const sorted = specs.toSorted((a, b) => a.guestAddress - b.guestAddress);
    for (const [i, spec] of sorted.entries()) {
      const before = sorted[i - 1];
      if (before !== undefined && before.guestAddress + before.size > spec.guestAddress)
        throw refuse(`${span(spec)} overlaps ${span(before)}`);
    }
    return new GuestMemory(sorted.map((spec) => new MemoryRegion(spec)));
  }

  /** The region that holds all `length` bytes from `guestAddress` on; `undefined` when no single one does. */
  find(guestAddress: number, length: number): MemoryRegion | undefined {
    const hit = this.hit;
    if (hit !== undefined) {
      const offset = guestAddress - hit.guestAddress;
      if (offset >= 0 && length <= hit.size - offset) return hit;
    }
    return this.#search(guestAddress, length);
  }

  #search(guestAddress: number, length: number): MemoryRegion | undefined {
    const region = this.at(guestAddress);
    if (region === undefined || !(length <= region.size - (guestAddress - region.guestAddress))) return undefined;
    this.hit = region;
    return region;
  }

  /** As {@link find}, for the address at an index of an array: one that is passed by value may be allocated. */
  locate(addresses: Float64Array, index: number, length: number): MemoryRegion | undefined {
    const guestAddress = addresses[index] as number;
    const { regions } = this;
    for (let i = 0; i < regions.length; i += 1) {
      const region = regions[i] as MemoryRegion;
      const offset = guestAddress - region.guestAddress;
      if (!(offset >= 0 && offset < region.size)) continue;
      if (length > region.size - offset) return undefined;
      this.hit = region;
      return region;
    }
    return undefined;
  }

  /** The region that holds this one byte. */
  at(guestAddress: number): MemoryRegion | undefined {
    const { regions } = this;
    let low = 0;
    let high = regions.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const region = regions[middle] as MemoryRegion;
      if (!(guestAddress >= region.guestAddress)) high = middle - 1;
      else if (guestAddress < region.guestAddress + region.size) return region;
      else low = middle + 1;
    }
    return undefined;
  }

  /** As {@link find}, by the front end's own address of the memory. */
  findUser(userAddress: number, length: number): MemoryRegion | undefined {
    for (const region of this.regions) {
      const offset = userAddress - region.userAddress;
      if (offset >= 0 && offset < region.size && length <= region.size - offset) return region;
    }
    return undefined;
  }
}

function checkSpec(spec: MemoryRegionSpec): void {
  const { guestAddress, size, userAddress, mapping, mappingOffset } = spec;
  for (const value of [guestAddress, size, userAddress, mappingOffset])
    if (!Number.isSafeInteger(value) || value < 0) throw refuse(`${value} is no address or size below 2^53`);
  if (size === 0) throw refuse('a region has no bytes');
  if (!Number.isSafeInteger(guestAddress + size)) throw refuse(`${span(spec)} ends above 2^53`);
  if (guestAddress % 8 !== 0 || mappingOffset % 8 !== 0)
    throw refuse(`${span(spec)} at offset ${mappingOffset} is not aligned to 8`);
  if (mappingOffset + size > mapping.length) throw refuse(`${span(spec)} is larger than its file`);
}

const span = (spec: MemoryRegionSpec): string =>
  `0x${spec.guestAddress.toString(16)}-0x${(spec.guestAddress + spec.size).toString(16)}`;

const refuse = (why: string): Error => errors.SDK_ERR_VIRTIO_MEMORY({ details: { why } });
