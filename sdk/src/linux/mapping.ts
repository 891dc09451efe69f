// Memory that the kernel, other processes and JavaScript share, mmap(2). Numbers from include/uapi/asm-generic/mman*.h.

import { fstatSync, readFileSync } from 'node:fs';
import { errors } from '../errors.ts';
import { check, declare, loadKoffi } from './call.ts';

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;

/** V8 ends the process when an ArrayBuffer is made over more. */
export const MAX_MAPPING = 2 ** 32;

// ABI: void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset); mmap(2). The result is read as
// an integer: an address (below 2^47 on what we run on, exact as a number) or -1. off_t is 64-bit.
const mmap = declare<
  [address: number, length: number, protection: number, flags: number, fd: number, offset: number],
  number
>('intptr_t mmap(intptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)');

// ABI: int munmap(void *addr, size_t length); munmap(2). Nothing may use the range any more: see Mapping.
const munmap = declare<[address: number, length: number], number>('int munmap(intptr_t address, size_t length)');

// ABI: int madvise(void *addr, size_t length, int advice); madvise(2). Only the kernel's view of the range changes.
const madviseCall = declare<[address: number, length: number, advice: number], number>(
  'int madvise(intptr_t address, size_t length, int advice)',
);

/** Bytes of a page of this machine: AT_PAGESZ of the auxiliary vector, getauxval(3). */
export const PAGE_SIZE: number = pageSize();

function pageSize(): number {
  const AT_PAGESZ = 6n;
  try {
    const bytes = readFileSync('/proc/self/auxv');
    for (let at = 0; at + 16 <= bytes.length; at += 16)
      if (bytes.readBigUInt64LE(at) === AT_PAGESZ) return Number(bytes.readBigUInt64LE(at + 8));
  } catch {
    // No procfs (or no Linux): the size that all of our architectures have unless they were configured otherwise.
  }
  return 4096;
}

/**
 * A range of mapped memory as one ArrayBuffer. Whoever made it unmaps it, and does so last: an address that was handed
 * to the kernel or to a worker knows nothing of it. Buffers and typed arrays over it become empty at that moment
 * instead of reading what is mapped there next.
 */
export class Mapping implements Disposable {
  /** Below 2^53, so arithmetic on it is exact. */
  readonly address: number;
  /** In bytes. */
  readonly length: number;
  #buffer: ArrayBuffer | undefined;
  readonly #owned: boolean;

  /** Takes ownership of a range that mmap(2) returned. Use mapFile(), mapAnonymous() or borrowMapping(). */
  constructor(address: number, length: number, owned: boolean = true) {
    this.address = address;
    this.length = length;
    this.#owned = owned;
    // ABI: koffi.view makes an external ArrayBuffer without copying; it does not own the memory.
    this.#buffer = loadKoffi().view(address, length);
  }

  get closed(): boolean {
    return this.#buffer === undefined;
  }

  /** The same buffer each time. @throws SDK_ERR_MAPPING_CLOSED */
  get buffer(): ArrayBuffer {
    if (this.#buffer === undefined) throw errors.SDK_ERR_MAPPING_CLOSED({ details: { length: this.length } });
    return this.#buffer;
  }

  /** @throws LinuxError */
  [Symbol.dispose](): void {
    if (this.#buffer === undefined) return;
    // Detaches: every view of it has length 0 from now on, so that one that was forgotten cannot fault.
    this.#buffer.transfer(0);
    this.#buffer = undefined;
    if (this.#owned) check('munmap', munmap(this.address, this.length));
  }
}

/**
 * What another thread of this process has mapped. That thread unmaps it, and only after this was disposed of: an access
 * later than that ends the process.
 */
export function borrowMapping(address: number, length: number): Mapping {
  return new Mapping(address, length, false);
}

export interface MapFileOptions {
  /** In bytes, a multiple of the page size; default 0. */
  readonly offset?: number;
  /** Default `read-write`. Writing to a mapping that is only for reading ends the process. */
  readonly access?: 'read' | 'read-write';
  /** Whether writes reach the file and others that map it; default true. */
  readonly shared?: boolean;
  /** Whether all pages are made present at once, so that no access faults later; default false. */
  readonly populate?: boolean;
}

/**
 * Maps `length` bytes of a file, 1 byte to 4 GiB. The descriptor may be closed afterwards. A file that becomes shorter
 * later ends the process at the next access: ask for the seal `shrink` (memfd.ts) where others may cut it.
 * @throws SDK_ERR_MAPPING when the file does not hold that range; LinuxError
 */
export function mapFile(fd: number, length: number, options: MapFileOptions = {}): Mapping {
  const { offset = 0, access = 'read-write', shared = true, populate = false } = options;
  const refuse = (why: string) => errors.SDK_ERR_MAPPING({ details: { length, offset, fd, why } });
  if (!Number.isSafeInteger(length) || length < 1 || length > MAX_MAPPING) throw refuse('the length is out of range');
  if (!Number.isSafeInteger(offset) || offset < 0 || offset % PAGE_SIZE !== 0)
    throw refuse('the offset is not a multiple of the page size');
  const status = fstatSync(fd);
  if (status.isFile() && offset + length > status.size) throw refuse(`the file has only ${status.size} bytes`);
  const protection = access === 'read' ? PROT_READ : PROT_READ | PROT_WRITE;
  const flags = (shared ? MAP_SHARED : MAP_PRIVATE) | (populate ? MAP_POPULATE : 0);
  return new Mapping(check('mmap', mmap(0, length, protection, flags, fd, offset)), length);
}

/**
 * Zeroed private pages, committed when they are touched: memory at an address that stays, for what the kernel is given
 * pointers to. 1 byte to 4 GiB. @throws SDK_ERR_MAPPING, LinuxError ENOMEM
 */
export function mapAnonymous(length: number): Mapping {
  if (!Number.isSafeInteger(length) || length < 1 || length > MAX_MAPPING)
    throw errors.SDK_ERR_MAPPING({ details: { length, offset: 0, fd: -1, why: 'the length is out of range' } });
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  return new Mapping(check('mmap', mmap(0, length, PROT_READ | PROT_WRITE, flags, -1, 0)), length);
}

/** include/uapi/asm-generic/mman-common.h */
const ADVICE = {
  normal: 0,
  random: 1,
  sequential: 2,
  willneed: 3,
  dontneed: 4,
  free: 8,
  remove: 9,
  dontfork: 10,
  dofork: 11,
  mergeable: 12,
  unmergeable: 13,
  hugepage: 14,
  nohugepage: 15,
  dontdump: 16,
  dodump: 17,
  'populate-read': 22,
  'populate-write': 23,
} as const;

export type Advice = keyof typeof ADVICE;

/**
 * madvise(2) on a range that a Mapping of ours holds; `address` is a multiple of the page size.
 * @throws LinuxError EINVAL for advice that the kernel or the kind of memory does not know, …
 */
export function madvise(address: number, length: number, advice: Advice): void {
  check('madvise', madviseCall(address, length, ADVICE[advice]));
}
