// Sockets to and from the host, vsock(7), as streams.

import { closeSync } from 'node:fs';
import type { Socket } from 'node:net';
import {
  acceptVsock,
  connectVsock,
  LinuxError,
  listenVsock,
  socketError,
  VSOCK,
  type VsockAddress,
  watch,
} from '@runtime/sdk/linux';
import { streamOfFd } from './fd-stream.ts';

export { streamOfFd } from './fd-stream.ts';

/** Connections that wait to be accepted. */
const BACKLOG = 128;
/** Accepted at once before others have their turn. */
const ACCEPT_BATCH = 32;
/** How long nothing is accepted when there are no descriptors left. */
const EXHAUSTED_MS = 100;

/** Each half ends on its own (`allowHalfOpen`). Whoever gets one listens to its `error`. */
export type OnVsockConnection = (stream: Socket, peer: VsockAddress) => void;

/** What one accept of a listener gives; `undefined`: nobody waits. */
type Accept = (fd: number) => { readonly fd: number; readonly peer: VsockAddress } | undefined;

/**
 * Listens on a port for callers of any CID: who may call is for `onConnection` to say. Disposing ends listening, not the
 * connections. @throws LinuxError EADDRINUSE, EAFNOSUPPORT, …
 */
export function listenVsockStreams(port: number, onConnection: OnVsockConnection): Disposable {
  const listener = listenVsock({ cid: VSOCK.any, port }, { backlog: BACKLOG });
  return acceptStreams(listener, onConnection, (fd) => {
    const accepted = acceptVsock(fd);
    return accepted === undefined ? undefined : { fd: accepted.fd, peer: { cid: accepted.cid, port: accepted.port } };
  });
}

/** @param listener its descriptor, closed by disposing of this */
export function acceptStreams(listener: number, onConnection: OnVsockConnection, accept: Accept): Disposable {
  let timer: NodeJS.Timeout | undefined;
  const watching = watch(listener, { readable: true }, () => {
    try {
      for (let i = 0; i < ACCEPT_BATCH; i++) {
        const accepted = accept(listener);
        if (accepted === undefined) return;
        onConnection(adopt(accepted.fd), accepted.peer);
      }
    } catch {
      // No descriptors or no memory: they wait in the backlog, and waking up for them over and over would help nobody.
      watching.setInterest({});
      timer = setTimeout(() => watching.setInterest({ readable: true }), EXHAUSTED_MS);
    }
  });
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      watching[Symbol.dispose]();
      closeSync(listener);
    },
  };
}

/** @throws LinuxError ECONNRESET when nobody listens there, ETIMEDOUT, …; the reason of the signal */
export async function connectVsockStream(to: VsockAddress, options: ConnectOptions = {}): Promise<Socket> {
  return adopt(await connectVsockFd(to, options));
}

/** The descriptor itself, the caller's; non-blocking. @throws as connectVsockStream */
export function connectVsockFd(to: VsockAddress, { signal }: ConnectOptions = {}): Promise<number> {
  return connected(connectVsock(to), signal);
}

export interface ConnectOptions {
  readonly signal?: AbortSignal;
}

/** @param fd a socket that connects, closed unless it is returned */
export function connected(fd: number, signal?: AbortSignal): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const fail = (e: unknown): void => {
    closeSync(fd);
    reject(e);
  };
  if (signal?.aborted === true) {
    fail(signal.reason);
    return promise;
  }
  const onAbort = (): void => {
    watching[Symbol.dispose]();
    fail(signal?.reason);
  };
  const watching = watch(fd, { writable: true }, () => {
    watching[Symbol.dispose]();
    signal?.removeEventListener('abort', onAbort);
    const error = socketError(fd);
    if (error !== 0) fail(new LinuxError('connect', error));
    else resolve(fd);
  });
  signal?.addEventListener('abort', onAbort, { once: true });
  return promise;
}

function adopt(fd: number): Socket {
  try {
    return streamOfFd(fd);
  } catch (e) {
    closeSync(fd);
    throw e;
  }
}
