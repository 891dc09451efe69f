// Flags of one descriptor and copies of it, fcntl(2). Operations from include/uapi/asm-generic/fcntl.h and linux/fcntl.h.

import { check, declare } from './call.ts';

const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const FD_CLOEXEC = 1;
const O_NONBLOCK = 0o4000;

// ABI: int fcntl(int fd, int op, ... arg); fcntl(2). A variadic function takes its integer as others do on Linux.
const fcntl = declare<[fd: number, operation: number, argument: number], number>(
  'int fcntl(int fd, int operation, long argument)',
);

/**
 * Sets O_NONBLOCK, which belongs to what is open and not to the descriptor: all who share it notice. Leave it alone on
 * what was received from another process. @throws LinuxError EBADF
 */
export function setNonBlocking(fd: number, on: boolean): void {
  const flags = check('fcntl', fcntl(fd, F_GETFL, 0));
  const wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted !== flags) check('fcntl', fcntl(fd, F_SETFL, wanted));
}

/** @throws LinuxError EBADF */
export function isNonBlocking(fd: number): boolean {
  return (check('fcntl', fcntl(fd, F_GETFL, 0)) & O_NONBLOCK) !== 0;
}

/** What it was opened for. @throws LinuxError EBADF */
export function accessOf(fd: number): 'read' | 'write' | 'read-write' {
  return (['read', 'write', 'read-write'] as const)[check('fcntl', fcntl(fd, F_GETFL, 0)) & 3] ?? 'read';
}

/** Whether execve(2) closes it. @throws LinuxError EBADF */
export function setCloseOnExec(fd: number, on: boolean): void {
  check('fcntl', fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0));
}

/** @throws LinuxError EBADF */
export function isCloseOnExec(fd: number): boolean {
  return (check('fcntl', fcntl(fd, F_GETFD, 0)) & FD_CLOEXEC) !== 0;
}

/** A copy with the lowest free number from `atLeast` on, close-on-exec and the caller's. @throws LinuxError EBADF, EMFILE */
export function duplicate(fd: number, atLeast = 0): number {
  return check('fcntl', fcntl(fd, F_DUPFD_CLOEXEC, atLeast));
}
