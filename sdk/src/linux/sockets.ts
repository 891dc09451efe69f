// What sockets of all families have, socket(2), accept(2), socket(7).

import { closeSync } from 'node:fs';
import { check, declare, isLinuxError } from './call.ts';

/** include/linux/net.h; SOCK_NONBLOCK and SOCK_CLOEXEC are O_NONBLOCK and O_CLOEXEC. */
const TYPES = { stream: 1, datagram: 2, seqpacket: 5 } as const;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;

export type SocketType = keyof typeof TYPES;

// ABI: int socket(int domain, int type, int protocol); socket(2). The descriptor is the caller's.
const socketCall = declare<[family: number, type: number, protocol: number], number>(
  'int socket(int family, int type, int protocol)',
);
// ABI: int socketpair(int domain, int type, int protocol, int sv[2]); socketpair(2). Both descriptors are the caller's.
const socketpairCall = declare<[family: number, type: number, protocol: number, pair: Int32Array], number>(
  'int socketpair(int family, int type, int protocol, void *pair)',
);
// ABI: int bind(int sockfd, const struct sockaddr *addr, socklen_t addrlen); bind(2). The address is copied.
const bindCall = declare<[fd: number, address: Uint8Array, length: number], number>(
  'int bind(int fd, void *address, unsigned int length)',
);
// ABI: int connect(int sockfd, const struct sockaddr *addr, socklen_t addrlen); connect(2). The address is copied.
const connectCall = declare<[fd: number, address: Uint8Array, length: number], number>(
  'int connect(int fd, void *address, unsigned int length)',
);
// ABI: int listen(int sockfd, int backlog); listen(2).
const listenCall = declare<[fd: number, backlog: number], number>('int listen(int fd, int backlog)');
// ABI: int accept4(int sockfd, struct sockaddr *addr, socklen_t *addrlen, int flags); accept(2). The address is written
// to buffers of the caller during the call, or not asked for. The descriptor is the caller's.
const accept4Call = declare<
  [fd: number, address: Uint8Array | null, length: Uint32Array | null, flags: number],
  number
>('int accept4(int fd, void *address, void *length, int flags)');
// ABI: int getsockname(int sockfd, struct sockaddr *addr, socklen_t *addrlen); getsockname(2). Written during the call.
const getsocknameCall = declare<[fd: number, address: Uint8Array, length: Uint32Array], number>(
  'int getsockname(int fd, void *address, void *length)',
);
// ABI: int shutdown(int sockfd, int how); shutdown(2).
const shutdownCall = declare<[fd: number, how: number], number>('int shutdown(int fd, int how)');
// ABI: int getsockopt(int sockfd, int level, int optname, void *optval, socklen_t *optlen); getsockopt(2). Both buffers
// are ours and are written during the call only.
const getsockopt = declare<[fd: number, level: number, name: number, value: Int32Array, length: Uint32Array], number>(
  'int getsockopt(int fd, int level, int name, void *value, void *length)',
);
// ABI: int setsockopt(int sockfd, int level, int optname, const void *optval, socklen_t optlen); setsockopt(2). Copied.
const setsockopt = declare<[fd: number, level: number, name: number, value: Int32Array, length: number], number>(
  'int setsockopt(int fd, int level, int name, void *value, unsigned int length)',
);

/** include/uapi/asm-generic/socket.h; the same on x86-64, arm64 and riscv64. */
const SOL_SOCKET = 1;
const OPTIONS = { error: 4, sendBuffer: 7, receiveBuffer: 8, passCredentials: 16, acceptsConnections: 30 } as const;

export type SocketOption = keyof typeof OPTIONS;

/**
 * A new socket, non-blocking and close-on-exec, once `use` has made something of it; closed when that throws.
 * @throws LinuxError
 */
export function openSocket(family: number, type: SocketType, use: (fd: number) => void): number {
  const fd = check('socket', socketCall(family, TYPES[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  try {
    use(fd);
    return fd;
  } catch (e) {
    closeSync(fd);
    throw e;
  }
}

/** Two connected sockets, non-blocking and close-on-exec; the caller closes both. @throws LinuxError */
export function openSocketPair(family: number, type: SocketType): readonly [number, number] {
  const pair = new Int32Array(2);
  check('socketpair', socketpairCall(family, TYPES[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
  return [pair[0] as number, pair[1] as number];
}

/** @throws LinuxError */
export function bindSocket(fd: number, address: Uint8Array): void {
  check('bind', bindCall(fd, address, address.length));
}

/** @throws LinuxError */
export function listenSocket(fd: number, backlog: number): void {
  check('listen', listenCall(fd, backlog));
}

/** @throws LinuxError EINPROGRESS when it will be connected later, … */
export function connectSocket(fd: number, address: Uint8Array): void {
  check('connect', connectCall(fd, address, address.length));
}

/**
 * The next connection, non-blocking and close-on-exec, the caller's; `undefined` when there is none. The peer's address
 * goes to `address`, as much as fits. @throws LinuxError
 */
export function acceptSocket(fd: number, address: Uint8Array | null = null): number | undefined {
  for (;;) {
    try {
      const length = address === null ? null : Uint32Array.of(address.length);
      return check('accept4', accept4Call(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    } catch (e) {
      if (isLinuxError(e, 'EAGAIN')) return undefined;
      // Who connected is gone already, or a signal came: the next one.
      if (!isLinuxError(e, 'ECONNABORTED') && !isLinuxError(e, 'EINTR')) throw e;
    }
  }
}

/** The socket's own address goes to `address`, as much as fits. @throws LinuxError */
export function socketName(fd: number, address: Uint8Array): void {
  check('getsockname', getsocknameCall(fd, address, Uint32Array.of(address.length)));
}

/** @throws LinuxError ENOTCONN, … */
export function shutdownSocket(fd: number, how: 'read' | 'write' | 'both'): void {
  check('shutdown', shutdownCall(fd, { read: 0, write: 1, both: 2 }[how]));
}

/** SOL_SOCKET options with an integer value; sizes in bytes, as the kernel doubles them. @throws LinuxError */
export function socketOption(fd: number, option: SocketOption): number {
  const value = new Int32Array(1);
  check('getsockopt', getsockopt(fd, SOL_SOCKET, OPTIONS[option], value, Uint32Array.of(4)));
  return value[0] as number;
}

/** @throws LinuxError */
export function setSocketOption(
  fd: number,
  option: Exclude<SocketOption, 'error' | 'acceptsConnections'>,
  value: number,
): void {
  check('setsockopt', setsockopt(fd, SOL_SOCKET, OPTIONS[option], Int32Array.of(value), 4));
}

/** The error that waits on a socket, as positive errno, which this takes away; 0 for none. @throws LinuxError ENOTSOCK, … */
export function socketError(fd: number): number {
  return socketOption(fd, 'error');
}
