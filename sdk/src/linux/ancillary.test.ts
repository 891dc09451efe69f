import { closeSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FdSocket } from './ancillary.ts';
import { isCloseOnExec, isNonBlocking, setNonBlocking } from './descriptor-flags.ts';
import { drainEventfd, eventfd, signalEventfd } from './eventfd.ts';
import { mapFile } from './mapping.ts';
import { memfdCreate } from './memfd.ts';
import { shutdownSocket, socketError } from './sockets.ts';
import { acceptUnix, connectUnix, listenUnix, socketPair } from './unix-socket.ts';

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
const text = (bytes: Uint8Array, length: number): string => Buffer.from(bytes.subarray(0, length)).toString();

let before = 0;
// What the first call opens stays open.
eventfd();
beforeEach(() => {
  before = openDescriptors();
});
afterEach(() => {
  expect(openDescriptors()).toBe(before);
});

/** Two ends; closed at the end of the block. */
function pair(type: 'stream' | 'seqpacket' | 'datagram', options: ConstructorParameters<typeof FdSocket>[1] = {}) {
  const [a, b] = socketPair(type);
  const here = new FdSocket(a);
  const there = new FdSocket(b, options);
  return {
    here,
    there,
    [Symbol.dispose]() {
      here[Symbol.dispose]();
      there[Symbol.dispose]();
      closeSync(a);
      closeSync(b);
    },
  };
}

test('descriptors arrive with their message, and work', () => {
  using sockets = pair('seqpacket');
  const memory = memfdCreate('passed', { size: 4096 });
  const kick = eventfd();
  using mine = mapFile(memory, 4096);
  new Uint8Array(mine.buffer)[1] = 42;
  expect(sockets.here.send(Buffer.from('hello'), [memory, kick])).toBe(5);
  expect(sockets.here.send(Buffer.from('again'))).toBe(5);
  closeSync(memory);
  const buffer = new Uint8Array(64);
  const first = sockets.there.receive(buffer);
  expect(text(buffer, first?.bytes ?? 0)).toBe('hello');
  expect(first).toMatchObject({ truncated: false, credentials: undefined });
  const [theirMemory = -1, theirKick = -1] = first?.fds ?? [];
  expect([isCloseOnExec(theirMemory), isCloseOnExec(theirKick)]).toEqual([true, true]);
  using theirs = mapFile(theirMemory, 4096);
  expect(new Uint8Array(theirs.buffer)[1]).toBe(42);
  signalEventfd(theirKick);
  expect(drainEventfd(kick)).toBe(true);
  expect(sockets.there.receive(buffer)).toMatchObject({ bytes: 5, fds: [] });
  expect(sockets.there.receive(buffer)).toBeUndefined();
  for (const fd of [kick, theirMemory, theirKick]) closeSync(fd);
});

test('all 253 descriptors of a message come through', () => {
  using sockets = pair('stream');
  const fd = eventfd();
  sockets.here.send(
    Buffer.from('x'),
    Array.from({ length: 253 }, () => fd),
  );
  const { fds = [], truncated } = sockets.there.receive(new Uint8Array(1)) ?? {};
  expect([fds.length, new Set(fds).size, truncated]).toEqual([253, 253, false]);
  for (const each of fds) closeSync(each);
  expect(() =>
    sockets.here.send(
      Buffer.from('x'),
      Array.from({ length: 254 }, () => fd),
    ),
  ).toThrow('no more descriptors');
  closeSync(fd);
});

test.each([
  { maxFds: 0, sent: 1 },
  { maxFds: 1, sent: 2 },
  { maxFds: 2, sent: 3 },
  { maxFds: 3, sent: 253 },
])('with room for $maxFds, $sent descriptors are all closed and told as truncated', ({ maxFds, sent }) => {
  using sockets = pair('stream', { maxFds });
  const fd = eventfd();
  sockets.here.send(
    Buffer.from('x'),
    Array.from({ length: sent }, () => fd),
  );
  expect(sockets.there.receive(new Uint8Array(8))).toMatchObject({ bytes: 1, fds: [], truncated: true });
  closeSync(fd);
});

test('a message that is longer than the buffer loses its descriptors too', () => {
  using sockets = pair('seqpacket');
  const fd = eventfd();
  sockets.here.send(Buffer.from('too long'), [fd]);
  closeSync(fd);
  const buffer = new Uint8Array(3);
  expect(sockets.there.receive(buffer)).toMatchObject({ bytes: 3, fds: [], truncated: true });
  expect(text(buffer, 3)).toBe('too');
});

test('credentials of the sender come with descriptors', () => {
  using sockets = pair('seqpacket', { credentials: true, maxFds: 1 });
  const fd = eventfd();
  sockets.here.send(Buffer.from('who'), [fd]);
  const received = sockets.there.receive(new Uint8Array(8));
  expect(received).toMatchObject({
    truncated: false,
    credentials: { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() },
  });
  for (const each of [fd, ...(received?.fds ?? [])]) closeSync(each);
});

test('large messages grow the buffer, and a stream takes what it can', () => {
  using sockets = pair('stream');
  const bytes = new Uint8Array(1 << 20).fill(7);
  const sent = sockets.here.send(bytes) ?? 0;
  expect(sent).toBeGreaterThan(65_536);
  expect(sent).toBeLessThan(bytes.length);
  expect(sockets.here.send(bytes)).toBeUndefined();
  const into = new Uint8Array(1 << 20);
  let received = 0;
  for (let part = sockets.there.receive(into); part !== undefined; part = sockets.there.receive(into))
    received += part.bytes;
  expect(received).toBe(sent);
  expect(into[0]).toBe(7);
});

test('neither call blocks on a socket that does', () => {
  using sockets = pair('stream');
  setNonBlocking(sockets.there.fd, false);
  expect(sockets.there.receive(new Uint8Array(1))).toBeUndefined();
  expect(isNonBlocking(sockets.there.fd)).toBe(false);
});

test('the end of a stream is 0 bytes, and writing to nobody an error without a signal', () => {
  using sockets = pair('stream');
  shutdownSocket(sockets.there.fd, 'both');
  expect(sockets.here.receive(new Uint8Array(1))).toMatchObject({ bytes: 0, fds: [] });
  expect(() => sockets.here.send(Buffer.from('x'))).toThrow('sendmsg failed with EPIPE');
});

test('what cannot be sent is refused, and use after disposal too', () => {
  using sockets = pair('stream');
  expect(() => sockets.here.send(new Uint8Array())).toThrow('the size is out of range');
  expect(() => sockets.here.send(Buffer.from('x'), [1_000_000])).toThrow('sendmsg failed with EBADF');
  expect(() => new FdSocket(0, { maxFds: 254 })).toThrow('maxFds cannot be 254');
  sockets.there[Symbol.dispose]();
  expect(() => sockets.there.receive(new Uint8Array(1))).toThrow('was used after it was unmapped');
  expect(() => sockets.there.send(new Uint8Array(1))).toThrow('was used after it was unmapped');
});

test('sockets with a path are private from the start', () => {
  const folder = mkdtempSync(join(tmpdir(), 'unix-'));
  const path = join(folder, 's');
  expect(() => connectUnix(path)).toThrow('connect failed with ENOENT');
  const listening = listenUnix(path, { type: 'seqpacket' });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(acceptUnix(listening)).toBeUndefined();
  expect(() => connectUnix(path)).toThrow('connect failed with EPROTOTYPE');
  const client = connectUnix(path, { type: 'seqpacket' });
  const server = acceptUnix(listening) ?? -1;
  expect([isCloseOnExec(server), isNonBlocking(server), isCloseOnExec(client)]).toEqual([true, true, true]);
  expect(socketError(server)).toBe(0);
  expect(() => listenUnix(path)).toThrow('bind failed with EADDRINUSE');
  for (const fd of [listening, client, server]) closeSync(fd);
  const plain = join(folder, 'file');
  writeFileSync(plain, '');
  expect(() => connectUnix(plain)).toThrow('ECONNREFUSED');
  expect(readFileSync(plain, 'utf8')).toBe('');
  rmSync(folder, { recursive: true });
});

test('paths that do not fit are refused', () => {
  expect(() => listenUnix('/'.padEnd(108, 'x'))).toThrow('it has 108 bytes');
  expect(() => connectUnix('')).toThrow('it is empty');
  expect(() => connectUnix('/run/a\0b')).toThrow('it holds a NUL byte');
  expect(() => connectUnix('\0a\0b')).toThrow('it holds a NUL byte');
});

test('a name behind a NUL is in no file system', () => {
  const name = `\0runtime-test-${process.pid}`;
  expect(() => connectUnix(name)).toThrow('ECONNREFUSED');
  const listener = listenUnix(name);
  closeSync(connectUnix(name));
  closeSync(listener);
});
