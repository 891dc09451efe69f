// Whether io_uring can copy from the page cache in the thread that asks for it.

import { mapAnonymous, RWF, rawPreadv2 } from '@runtime/sdk/linux';

// errno(3)
const EOPNOTSUPP = 95;

/** False for a file of tmpfs, NFS, FUSE: there it wakes a worker thread for each read, as it might have to wait. */
export function readsAtOnce(fd: number): boolean {
  // struct iovec of one byte, and the byte.
  using memory = mapAnonymous(32);
  const byte = memory.address + 16;
  new Uint32Array(memory.buffer).set([byte >>> 0, Math.floor(byte / 2 ** 32), 1, 0]);
  return rawPreadv2(fd, memory.address, 1, 0, RWF.nowait) !== -EOPNOTSUPP;
}
