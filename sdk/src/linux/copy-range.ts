// Copying between files inside the kernel, which shares blocks where the file system can: copy_file_range(2).

import { check, declare } from './call.ts';

// ABI: ssize_t copy_file_range(int fd_in, off_t *off_in, int fd_out, off_t *off_out, size_t len, unsigned int flags);
// copy_file_range(2). Both offsets are ours and are advanced during the call.
const copyFileRangeCall = declare<
  [from: number, fromOffset: BigInt64Array, to: number, toOffset: BigInt64Array, length: number, flags: number],
  number | bigint
>('int64_t copy_file_range(int from, void *fromOffset, int to, void *toOffset, size_t length, unsigned int flags)');

/**
 * Copies up to `length` bytes at the given offsets; how many were copied, 0 at the end of the source.
 * @throws LinuxError EXDEV, EOPNOTSUPP or EINVAL where the kernel cannot (read and write instead); ENOSPC, EIO, …
 */
export function copyFileRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): number {
  const source = BigInt64Array.of(BigInt(fromOffset));
  const target = BigInt64Array.of(BigInt(toOffset));
  return check('copy_file_range', copyFileRangeCall(from, source, to, target, length, 0));
}
