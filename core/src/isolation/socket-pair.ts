// Two connected sockets, one of them as a descriptor to give away. Node has no socketpair(2): a listener that lives for
// one connection in a folder of ours does the same.

import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** unix(7) allows 107 bytes; a longer temporary folder is left aside. */
const MAX_FOLDER = 80;

export interface SocketPair {
  readonly near: Socket;
  /** For the child; open here until closeFar(). */
  readonly farFd: number;
  closeFar(): void;
}

/** Nothing is read from either end yet: `near` is paused, `far` never read here. */
export async function createSocketPair(): Promise<SocketPair> {
  const base = Buffer.byteLength(tmpdir()) <= MAX_FOLDER ? tmpdir() : '/tmp';
  // Mode 0700, so that nobody else can connect first.
  const folder = await mkdtemp(join(base, 'runtime-'));
  const server = createServer({ pauseOnConnect: true });
  try {
    const path = join(folder, 's');
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    const near = connect(path);
    near.pause();
    await new Promise<void>((resolve, reject) => near.once('connect', resolve).once('error', reject));
    near.removeAllListeners('error');
    const far = await accepted;
    const { _handle: handle } = far as Socket & { readonly _handle?: { readonly fd?: unknown } | null };
    if (typeof handle?.fd !== 'number' || handle.fd < 0) throw new TypeError('the socket has no descriptor');
    return { near, farFd: handle.fd, closeFar: () => void far.destroy() };
  } finally {
    server.close();
    await rm(folder, { recursive: true, force: true });
  }
}
