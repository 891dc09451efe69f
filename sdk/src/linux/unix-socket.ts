// Sockets between processes of this machine, unix(7).

import { fchmodSync } from 'node:fs';
import { errors } from '../errors.ts';
import {
  acceptSocket,
  bindSocket,
  connectSocket,
  listenSocket,
  openSocket,
  openSocketPair,
  type SocketType,
} from './sockets.ts';

const AF_UNIX = 1;
/** struct sockaddr_un { sa_family_t family; char path[108]; }, with the NUL at the end of the path. */
const MAX_PATH = 107;

/** Two connected sockets, non-blocking and close-on-exec; the caller closes both. @throws LinuxError */
export function socketPair(type: SocketType): readonly [number, number] {
  return openSocketPair(AF_UNIX, type);
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
  return openSocket(AF_UNIX, type, (fd) => {
    // The socket file takes the mode of the socket: no moment at which others could connect.
    fchmodSync(fd, mode);
    bindSocket(fd, address);
    if (type !== 'datagram') listenSocket(fd, backlog);
  });
}

/**
 * A connected socket, non-blocking and close-on-exec, the caller's.
 * @throws SDK_ERR_SOCKET_ADDRESS; LinuxError ENOENT, ECONNREFUSED, EAGAIN (the backlog is full), EPROTOTYPE, …
 */
export function connectUnix(path: string, options: { readonly type?: SocketType } = {}): number {
  const address = sockaddr(path);
  return openSocket(AF_UNIX, options.type ?? 'stream', (fd) => connectSocket(fd, address));
}

/** The next connection, non-blocking and close-on-exec, the caller's; `undefined` when there is none. @throws LinuxError */
export function acceptUnix(fd: number): number | undefined {
  return acceptSocket(fd);
}

function sockaddr(path: string): Uint8Array {
  const bytes = Buffer.from(path);
  const refuse = (why: string) => errors.SDK_ERR_SOCKET_ADDRESS({ details: { path: JSON.stringify(path), why } });
  if (bytes.length === 0) throw refuse('it is empty');
  // Behind a first NUL: a name in no file system, which ends where the address does.
  const isAbstract = bytes[0] === 0;
  if (bytes.includes(0, 1)) throw refuse('it holds a NUL byte');
  if (bytes.length > MAX_PATH) throw refuse(`it has ${bytes.length} bytes`);
  const address = new Uint8Array(2 + bytes.length + (isAbstract ? 0 : 1));
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(bytes, 2);
  return address;
}
