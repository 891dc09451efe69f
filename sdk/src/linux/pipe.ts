// Pipes, pipe(2). What node:child_process calls a pipe is a pair of sockets, which a child cannot open again through
// /dev/stdin.

import { check, declare } from './call.ts';

/** include/uapi/asm-generic/fcntl.h; the value of O_CLOEXEC is that of x86-64, arm64 and riscv64. */
const O_CLOEXEC = 0o2000000;

// ABI: int pipe2(int pipefd[2], int flags); pipe(2). The array is written during the call.
const pipe2 = declare<[fds: Int32Array, flags: number], number>('int pipe2(int *fds, int flags)');

/** Both ends block, are close-on-exec and the caller's. @throws LinuxError EMFILE, ENFILE */
export function pipe(): { readonly read: number; readonly write: number } {
  const fds = new Int32Array(2);
  check('pipe2', pipe2(fds, O_CLOEXEC));
  const [read, write] = fds as unknown as [number, number];
  return { read, write };
}
