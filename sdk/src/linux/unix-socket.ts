// Sockets between processes of this machine, unix(7).

import { closeSync, fchmodSync } from 'node:fs';
import { errors } from '../errors.ts';
import { check, declare, isLinuxError } from './call.ts';

const AF_UNIX = 1;
/** include/linux/net.h, and the values of O_NONBLOCK and O_CLOEXEC. */
const TYPES = { stream: 1, datagram: 2, seqpacket: 5 } as const;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** struct sockaddr_un { sa_family_t family; char path[108]; } */
const SOCKADDR_BYTES = 110;
const MAX_PATH = 107;

export type SocketType = keyof typeof TYPES;

// ABI: int socketpair(int domain, int type, int protocol, int sv[2]); socketpair(2). Both descriptors are the caller's.
const socketpairCall = declare<[domain: number, type: number, protocol: number, pair: Int32Array], number>(
  'int socketpair(int domain, int type, int protocol, void *pair)',
);
// ABI: int socket(int domain, int type, int protocol); socket(2).
const socketCall = declare<[domain: number, type: number, protocol: number], number>(
  'int socket(int domain, int type, int protocol)',
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
// ABI: int accept4(int sockfd, struct sockaddr *addr, socklen_t *addrlen, int flags); accept(2). No address is asked for.
const accept4Call = declare<[fd: number, address: null, length: null, flags: number], number>(
  'int accept4(int fd, void *address, void *length, int flags)',
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
const SOCKET_OPTIONS = { error: 4, sendBuffer: 7, receiveBuffer: 8, passCredentials: 16 } as const;

export type SocketOption = keyof typeof SOCKET_OPTIONS;

/** Two connected sockets, non-blocking and close-on-exec; the caller closes both. @throws LinuxError */
export function socketPair(type: SocketType): readonly [number, number] {
  const pair = new Int32Array(2);
  check('socketpair', socketpairCall(AF_UNIX, TYPES[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
  return [pair[0] as number, pair[1] as number];
}

export interface ListenOptions {
  /** Default `stream`. */
  readonly type?: SocketType;
  /** Connections that wait to be accepted, default 16. */
  readonly backlog?: number;
  /** Permissions of the socket file from its first moment on, less the umask; default 0o600. */
  readonly mode?: number;
}

/**
 * A listening (for datagrams: bound) socket, non-blocking and close-on-exec; the caller closes it and removes the file.
 * @throws SDK_ERR_SOCKET_ADDRESS; LinuxError EADDRINUSE when the file is there, also one that nobody listens on any more
 */
export function listenUnix(path: string, options: ListenOptions = {}): number {
  const address = sockaddr(path);
  const { type = 'stream', backlog = 16, mode = 0o600 } = options;
  return open(type, (fd) => {
    // The socket file takes the mode of the socket: no moment at which others could connect.
    fchmodSync(fd, mode);
    check('bind', bindCall(fd, address, address.length));
    if (type !== 'datagram') check('listen', listenCall(fd, backlog));
  });
}

/**
 * A connected socket, non-blocking and close-on-exec, the caller's.
 * @throws SDK_ERR_SOCKET_ADDRESS; LinuxError ENOENT, ECONNREFUSED, EAGAIN (the backlog is full), EPROTOTYPE, …
 */
export function connectUnix(path: string, options: { readonly type?: SocketType } = {}): number {
  const address = sockaddr(path);
  return open(options.type ?? 'stream', (fd) => check('connect', connectCall(fd, address, address.length)));
}

/** The next connection, non-blocking and close-on-exec, the caller's; `undefined` when there is none. @throws LinuxError */
export function acceptUnix(fd: number): number | undefined {
  for (;;) {
    try {
      return check('accept4', accept4Call(fd, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC));
    } catch (e) {
      if (isLinuxError(e, 'EAGAIN')) return undefined;
      // Who connected is gone already, or a signal came: the next one.
      if (!isLinuxError(e, 'ECONNABORTED') && !isLinuxError(e, 'EINTR')) throw e;
    }
  }
}

/** Also for sockets of other families. @throws LinuxError ENOTCONN, … */
export function shutdownSocket(fd: number, how: 'read' | 'write' | 'both'): void {
  check('shutdown', shutdownCall(fd, { read: 0, write: 1, both: 2 }[how]));
}

/** SOL_SOCKET options with an integer value; sizes in bytes, as the kernel doubles them. @throws LinuxError */
export function socketOption(fd: number, option: SocketOption): number {
  const value = new Int32Array(1);
  check('getsockopt', getsockopt(fd, SOL_SOCKET, SOCKET_OPTIONS[option], value, Uint32Array.of(4)));
  return value[0] as number;
}

/** @throws LinuxError */
export function setSocketOption(fd: number, option: Exclude<SocketOption, 'error'>, value: number): void {
  check('setsockopt', setsockopt(fd, SOL_SOCKET, SOCKET_OPTIONS[option], Int32Array.of(value), 4));
}

/** The error that waits on a socket, as positive errno, which this takes away; 0 for none. @throws LinuxError ENOTSOCK, … */
export function socketError(fd: number): number {
  return socketOption(fd, 'error');
}

function open(type: SocketType, use: (fd: number) => void): number {
  const fd = check('socket', socketCall(AF_UNIX, TYPES[type] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  try {
    use(fd);
    return fd;
  } catch (e) {
    closeSync(fd);
    throw e;
  }
}

function sockaddr(path: string): Uint8Array {
  const bytes = Buffer.from(path);
  const refuse = (why: string) => errors.SDK_ERR_SOCKET_ADDRESS({ details: { path: JSON.stringify(path), why } });
  if (bytes.length === 0) throw refuse('it is empty');
  if (bytes.includes(0)) throw refuse('it holds a NUL byte');
  if (bytes.length > MAX_PATH) throw refuse(`it has ${bytes.length} bytes`);
  const address = new Uint8Array(Math.min(SOCKADDR_BYTES, 2 + bytes.length + 1));
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(bytes, 2);
  return address;
}
