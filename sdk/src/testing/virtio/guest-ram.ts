// The memory of a guest that exists only in a test: sealed memfds, as a front end has them, and an allocator of
// guest-physical addresses.

import { closeSync } from 'node:fs';
import { type Mapping, mapFile, PAGE_SIZE } from '../../linux/mapping.ts';
import { memfdCreate } from '../../linux/memfd.ts';
import { GuestMemory, type MemoryRegion } from '../../virtio/guest-memory.ts';

export interface GuestRamRegion {
  readonly guestAddress: number;
  /** Bytes, at most 4 GiB less two pages. */
  readonly size: number;
}

/** As a front end describes it to a back end. */
export interface GuestRamFile extends GuestRamRegion {
  readonly userAddress: number;
  /** Sealed against growing and shrinking; it stays the GuestRam's. */
  readonly fd: number;
  /** Of the region's first byte in the file. */
  readonly offset: number;
}

const CANARY = 0xa5;

export class GuestRam implements Disposable {
  readonly files: readonly GuestRamFile[];
  /** What a device in this process uses. */
  readonly memory: GuestMemory;
  readonly #mappings: Mapping[] = [];
  readonly #guards: Uint8Array[] = [];
  /** Where the next allocation of each region begins. */
  readonly #tops: number[];
  /** Freed blocks by their size. */
  readonly #freed: Map<number, number[]> = new Map();
  #closed = false;

  /** A page of canary bytes lies before and after each region. @throws LinuxError, SDK_ERR_VIRTIO_MEMORY */
  constructor(regions: readonly GuestRamRegion[]) {
    this.files = regions.map(({ guestAddress, size }) => {
      const length = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE + 2 * PAGE_SIZE;
      const fd = memfdCreate('guest-ram', { size: length, seals: ['grow', 'shrink', 'seal'] });
      const mapping = mapFile(fd, length);
      this.#mappings.push(mapping);
      const before = new Uint8Array(mapping.buffer, 0, PAGE_SIZE).fill(CANARY);
      const after = new Uint8Array(mapping.buffer, PAGE_SIZE + size).fill(CANARY);
      this.#guards.push(before, after);
      return { guestAddress, size, fd, offset: PAGE_SIZE, userAddress: mapping.address + PAGE_SIZE };
    });
    this.memory = GuestMemory.create(
      this.files.map(({ guestAddress, size, userAddress, offset }, i) => {
        return { guestAddress, size, userAddress, mapping: this.#mappings[i] as Mapping, mappingOffset: offset };
      }),
    );
    this.#tops = regions.map(({ guestAddress }) => guestAddress);
  }

  /** False when somebody has written just outside of a region. */
  get intact(): boolean {
    return this.#guards.every((guard) => guard.every((byte) => byte === CANARY));
  }

  /** Guest address of `bytes` bytes in one region. `align`: a power of two. @throws RangeError when the memory is full */
  alloc(bytes: number, align: number = 16): number {
    const freed = align <= 16 ? this.#freed.get(sizeClass(bytes))?.pop() : undefined;
    if (freed !== undefined) return freed;
    const size = sizeClass(bytes);
    for (const [i, { guestAddress, size: regionSize }] of this.files.entries()) {
      const at = Math.ceil((this.#tops[i] as number) / align) * align;
      if (at + size > guestAddress + regionSize) continue;
      this.#tops[i] = at + size;
      return at;
    }
    throw new RangeError(`the guest has no ${bytes} bytes left`);
  }

  /** `bytes`: as they were asked for. */
  free(address: number, bytes: number): void {
    const size = sizeClass(bytes);
    const list = this.#freed.get(size);
    if (list === undefined) this.#freed.set(size, [address]);
    else list.push(address);
  }

  /** The bytes themselves. @throws RangeError when they are not in one region */
  bytes(address: number, length: number): Uint8Array<ArrayBuffer> {
    const region = this.region(address, length);
    const offset = address - region.guestAddress;
    return region.u8.subarray(offset, offset + length);
  }

  region(address: number, length: number): MemoryRegion {
    const region = this.memory.find(address, length);
    if (region === undefined) throw new RangeError(`the guest has no ${length} bytes at 0x${address.toString(16)}`);
    return region;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const mapping of this.#mappings) mapping[Symbol.dispose]();
    for (const { fd } of this.files) closeSync(fd);
  }
}

const sizeClass = (bytes: number): number => Math.max(16, 2 ** Math.ceil(Math.log2(bytes)));

/** One region of that many bytes at guest address 0x1000, or regions as they are given. */
export function createGuestRam(what: number | readonly GuestRamRegion[]): GuestRam {
  return new GuestRam(typeof what === 'number' ? [{ guestAddress: 0x1000, size: what }] : what);
}
