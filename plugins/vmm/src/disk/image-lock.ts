// Locks on image files, as QEMU and its tools take them (docs/system/qemu-block-drivers, "Disk image file locking";
// block/file-posix.c): a byte for each permission in use, and one for each that others may not have.

import { canLockRange, lockRange } from '@runtime/sdk/linux';

/** Bytes that stand for permissions in use, and for those that are not shared. */
const USED = 100;
const UNSHARED = 200;
const CONSISTENT_READ = 0;
const WRITE = 1;
const RESIZE = 3;

const byte = (start: number): { readonly start: number; readonly length: number } => ({ start, length: 1 });

/**
 * A writer has the image alone, whoever the others are. Readers share it with readers, of QEMU as well, and keep writers
 * away. The lock lasts until every descriptor of this opening is closed. False: it is in use. @throws LinuxError
 */
export function lockImage(fd: number, writable: boolean): boolean {
  if (writable) return lockRange(fd, 'write');
  const held = [USED + CONSISTENT_READ, UNSHARED + WRITE, UNSHARED + RESIZE];
  if (!held.every((at) => lockRange(fd, 'read', byte(at)))) return false;
  // Ours are held by now, so that one of two that come at the same time gives way.
  return [USED + WRITE, USED + RESIZE, UNSHARED + CONSISTENT_READ].every((at) => canLockRange(fd, 'write', byte(at)));
}
