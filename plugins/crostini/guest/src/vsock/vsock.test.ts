import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { acceptUnix, connectUnix, listenUnix, socketPair, VSOCK } from '@runtime/sdk/linux';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { acceptStreams, connected, connectVsockStream, listenVsockStreams, streamOfFd } from './index.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vsock-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function pair(): readonly [Socket, Socket] {
  const [a, b] = socketPair('stream');
  return [streamOfFd(a), streamOfFd(b)];
}

test('bytes arrive as they were sent, and each half ends on its own', async () => {
  const [a, b] = pair();
  const sent = randomBytes(5_000_000);
  a.end(sent);
  expect((await buffer(b)).equals(sent)).toBe(true);
  b.end('and still an answer');
  expect((await buffer(a)).toString()).toBe('and still an answer');
});

test('a writer is held back while nobody reads', async () => {
  const [a, b] = pair();
  const piece = Buffer.alloc(65_536);
  let taken = 0;
  while (a.write(piece) && taken < 1000) taken += 1;
  expect(taken).toBeLessThan(1000);
  b.resume();
  await once(a, 'drain');
  a.destroy();
  b.destroy();
});

test('a descriptor that is no stream is refused', () => {
  expect(() => streamOfFd(1_000_000)).toThrow('cannot be a stream');
});

function listenHere(path: string, onConnection: (stream: Socket) => void): Disposable {
  return acceptStreams(listenUnix(path), onConnection, (fd) => {
    const accepted = acceptUnix(fd);
    return accepted === undefined ? undefined : { fd: accepted, peer: { cid: VSOCK.host, port: 1 } };
  });
}

test('connections are accepted until the listener is disposed of, and outlive it', async () => {
  const path = join(folder, 's');
  const first = Promise.withResolvers<Socket>();
  const listening = listenHere(path, first.resolve);
  const near = streamOfFd(await connected(connectUnix(path)));
  const far = await first.promise;
  listening[Symbol.dispose]();
  expect(() => connectUnix(path)).toThrow('ECONNREFUSED');
  near.end('hello');
  expect((await buffer(far)).toString()).toBe('hello');
  far.destroy();
});

test('a connection can be given up', async () => {
  const path = join(folder, 's');
  using _listening = listenHere(path, (stream) => stream.destroy());
  await expect(connected(connectUnix(path), AbortSignal.abort(new Error('no more')))).rejects.toThrow('no more');
});

test('over vsock itself, where this machine has a loopback', async (context) => {
  const port = 4_000_000_000 + Math.floor(Math.random() * 1_000_000);
  const first = Promise.withResolvers<{ stream: Socket; cid: number }>();
  let listening: Disposable;
  let near: Socket;
  try {
    listening = listenVsockStreams(port, (stream, { cid }) => first.resolve({ stream, cid }));
  } catch (e) {
    return context.skip(`no vsock here: ${(e as Error).message}`);
  }
  try {
    near = await connectVsockStream({ cid: VSOCK.local, port }, { signal: AbortSignal.timeout(1000) });
  } catch (e) {
    listening[Symbol.dispose]();
    return context.skip(`no loopback of vsock here: ${(e as Error).message}`);
  }
  const { stream, cid } = await first.promise;
  expect(cid).toBe(VSOCK.local);
  near.end('hello');
  expect((await buffer(stream)).toString()).toBe('hello');
  stream.destroy();
  listening[Symbol.dispose]();
});
