// Where a file has data and where it has holes, lseek(2). Numbers from include/uapi/linux/fs.h.

import { check, declare, isLinuxError } from './call.ts';

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

// ABI: off_t lseek(int fd, off_t offset, int whence); lseek(2). off_t is 64-bit. The file offset of the descriptor moves.
const lseek = declare<[fd: number, offset: number, whence: number], number | bigint>(
  'int64_t lseek(int fd, int64_t offset, int whence)',
);

/**
 * The first byte at or after `offset` that is not in a hole; `undefined` when there is none. File systems without holes
 * say that all is data. @throws LinuxError EINVAL, ESPIPE, …
 */
export function seekData(fd: number, offset: number): number | undefined {
  try {
    return check('lseek', lseek(fd, offset, SEEK_DATA));
  } catch (e) {
    if (isLinuxError(e, 'ENXIO')) return undefined;
    throw e;
  }
}

/** The first byte at or after `offset`, which lies in the file, that is in a hole; the end of the file is one. @throws LinuxError */
export function seekHole(fd: number, offset: number): number {
  return check('lseek', lseek(fd, offset, SEEK_HOLE));
}
