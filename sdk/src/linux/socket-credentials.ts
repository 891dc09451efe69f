// Who is at the other end of a Unix socket, unix(7).

import type { PeerCredentials } from '@runtime/core';
import { check, declare } from './call.ts';

/** include/uapi/asm-generic/socket.h; the same on x86-64, arm64 and riscv64. */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred { pid_t pid; uid_t uid; gid_t gid; } */
const UCRED_BYTES = 12;

// ABI: int getsockopt(int sockfd, int level, int optname, void *optval, socklen_t *optlen); getsockopt(2). Both buffers
// are ours and are written during the call only; optlen holds the size on entry and the length on return.
const getsockopt = declare<
  [socket: number, level: number, name: number, value: Uint32Array, length: Uint32Array],
  number
>('int getsockopt(int socket, int level, int name, void *value, void *length)');

/** As they were when the peer connected (or made the pair). @throws LinuxError ENOTSOCK, ENOPROTOOPT, … */
export function peerCredentials(fd: number): PeerCredentials {
  const value = new Uint32Array(UCRED_BYTES / Uint32Array.BYTES_PER_ELEMENT);
  const length = Uint32Array.of(UCRED_BYTES);
  check('getsockopt', getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length));
  const [pid = 0, uid = 0, gid = 0] = value;
  return { pid, uid, gid };
}
