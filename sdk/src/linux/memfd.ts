// Files that are only in memory and can be passed to other processes, memfd_create(2), and their seals, fcntl(2).

import { closeSync, ftruncateSync } from 'node:fs';
import { check, declare } from './call.ts';

/** include/uapi/linux/memfd.h */
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
/** include/uapi/linux/fcntl.h: F_LINUX_SPECIFIC_BASE + 9 and + 10 */
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;

const SEALS = { seal: 1, shrink: 2, grow: 4, write: 8, 'future-write': 0x10 } as const;

/** What can never be done to the file again: `seal` is adding seals. */
export type Seal = keyof typeof SEALS;

// ABI: int memfd_create(const char *name, unsigned int flags); memfd_create(2). The name is copied.
const memfdCreateCall = declare<[name: string, flags: number], number>(
  'int memfd_create(const char *name, unsigned int flags)',
);

// ABI: int fcntl(int fd, int op, int arg); fcntl(2). A variadic function takes its integer as others do on Linux.
const fcntl = declare<[fd: number, operation: number, argument: number], number>(
  'int fcntl(int fd, int operation, long argument)',
);

export interface MemfdOptions {
  /** In bytes, default 0. Pages are committed when they are touched. */
  readonly size?: number;
  /** Added once the file has its size; default none. */
  readonly seals?: readonly Seal[];
}

/**
 * The descriptor is close-on-exec and the caller's. `name`, at most 249 bytes, shows in /proc.
 * @throws LinuxError EINVAL for a name that is too long, ENOSPC, …
 */
export function memfdCreate(name: string, options: MemfdOptions = {}): number {
  const fd = check('memfd_create', memfdCreateCall(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  try {
    if (options.size !== undefined) ftruncateSync(fd, options.size);
    if (options.seals !== undefined && options.seals.length > 0) addSeals(fd, options.seals);
    return fd;
  } catch (e) {
    closeSync(fd);
    throw e;
  }
}

/** @throws LinuxError EINVAL when the file is of a kind without seals, EPERM when it was sealed, EBUSY when it is mapped for writing */
export function addSeals(fd: number, seals: readonly Seal[]): void {
  const bits = seals.reduce((all, seal) => all | SEALS[seal], 0);
  check('fcntl', fcntl(fd, F_ADD_SEALS, bits));
}

/** @throws LinuxError EINVAL when the file is of a kind without seals */
export function sealsOf(fd: number): readonly Seal[] {
  const bits = check('fcntl', fcntl(fd, F_GET_SEALS, 0));
  return (Object.keys(SEALS) as Seal[]).filter((seal) => (bits & SEALS[seal]) !== 0);
}
