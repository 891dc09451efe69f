// Locks that programs agree to respect: on ranges of a file (open file description locks, fcntl(2)) and on files, flock(2).
// Both belong to what was opened and end with its last descriptor, so they can be handed over with it.

import { check, declare, isLinuxError } from './call.ts';

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const KINDS = { read: 0, write: 1, none: 2 } as const;
const LOCK_NB = 4;
const FLOCK = { shared: 1, exclusive: 2, none: 8 } as const;

// struct flock on 64-bit machines: type i16@0, whence i16@2, start i64@8, length i64@16, pid i32@24; 32 bytes.
// ABI: int fcntl(int fd, int op, struct flock *lock); fcntl(2). The buffer is read, and with GETLK written, during the call.
const fcntlLock = declare<[fd: number, operation: number, lock: BigInt64Array], number>(
  'int fcntl(int fd, int operation, void *lock)',
);
// ABI: int flock(int fd, int op); flock(2).
const flockCall = declare<[fd: number, operation: number], number>('int flock(int fd, int operation)');

export interface LockRange {
  /** In bytes, from the start of the file; default 0. */
  readonly start?: number;
  /** In bytes; default 0, which is up to the end wherever that will be. */
  readonly length?: number;
}

function flockOf(kind: keyof typeof KINDS, { start = 0, length = 0 }: LockRange): BigInt64Array {
  return BigInt64Array.of(BigInt(KINDS[kind]), BigInt(start), BigInt(length), 0n);
}

/**
 * Takes a lock, or changes (`none`: ends) the one it has on the range. Readers share it and need a descriptor open for
 * reading, a writer has it alone and needs one for writing. False: another has it. Never waits.
 * @throws LinuxError EBADF, EINVAL, ENOLCK, …
 */
export function lockRange(fd: number, kind: keyof typeof KINDS, range: LockRange = {}): boolean {
  try {
    check('fcntl', fcntlLock(fd, F_OFD_SETLK, flockOf(kind, range)));
    return true;
  } catch (e) {
    if (isLinuxError(e, 'EAGAIN') || isLinuxError(e, 'EACCES')) return false;
    throw e;
  }
}

/** Whether lockRange() would succeed now. @throws LinuxError */
export function canLockRange(fd: number, kind: 'read' | 'write', range: LockRange = {}): boolean {
  const lock = flockOf(kind, range);
  check('fcntl', fcntlLock(fd, F_OFD_GETLK, lock));
  return (Number(lock[0]) & 0xffff) === KINDS.none;
}

/** Locks a whole file, or with `none` unlocks it. False: another has it. Never waits. @throws LinuxError EBADF, … */
export function lockFile(fd: number, kind: keyof typeof FLOCK): boolean {
  try {
    check('flock', flockCall(fd, FLOCK[kind] | LOCK_NB));
    return true;
  } catch (e) {
    if (isLinuxError(e, 'EAGAIN')) return false;
    throw e;
  }
}
