import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ByteRing } from './byte-ring.ts';
import { CONSOLE_RING, ConsoleRelay } from './console-relay.ts';
import { RotatingLog } from './rotating-log.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'console-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

describe('the ring', () => {
  test('keeps the last bytes, by their place', () => {
    const ring = new ByteRing(4);
    ring.push(Buffer.from('abc'));
    expect(ring.read(0)).toEqual({ bytes: Uint8Array.from(Buffer.from('abc')), next: 3, missed: 0 });
    ring.push(Buffer.from('def'));
    expect([text(ring.read(0).bytes), ring.read(0).missed, ring.start, ring.end]).toEqual(['cdef', 2, 2, 6]);
    expect(text(ring.read(4).bytes)).toBe('ef');
    expect(ring.read(6)).toMatchObject({ next: 6, missed: 0 });
    expect([text(ring.read(99).bytes), ring.read(99).missed]).toEqual(['cdef', 0]);
    ring.push(Buffer.from('0123456789'));
    expect([text(ring.read(0).bytes), ring.end]).toEqual(['6789', 16]);
  });

  test('gives what was put in, whatever the pieces', () => {
    const ring = new ByteRing(7);
    let all = '';
    for (let i = 0; i < 200; i++) {
      const piece = String(i).repeat((i * 7) % 5);
      all += piece;
      ring.push(Buffer.from(piece));
      expect(text(ring.read(0).bytes)).toBe(all.slice(-7));
      expect(ring.end).toBe(all.length);
    }
  });
});

test('the log is put aside when it is full', () => {
  const path = join(folder, 'logs', 'x.log');
  using log = new RotatingLog(path, 10);
  log.write(Buffer.from('0123456789abcdefghijKLM'));
  expect(readFileSync(path, 'utf8')).toBe('KLM');
  expect(readFileSync(`${path}.1`, 'utf8')).toBe('abcdefghij');
  using again = new RotatingLog(path, 10);
  again.write(Buffer.from('NOPQRSTU'));
  expect(readFileSync(path, 'utf8')).toBe('U');
  expect(readFileSync(`${path}.1`, 'utf8')).toBe('KLMNOPQRST');
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

describe('the relay', () => {
  let server: Server;
  let guest: Socket;
  let relay: ConsoleRelay;

  beforeEach(async () => {
    const path = join(folder, 'console.sock');
    const connected = new Promise<Socket>((resolve) => {
      server = createServer(resolve).listen(path);
    });
    await new Promise((resolve) => server.once('listening', resolve));
    relay = await ConsoleRelay.connect(path, { vm: 'dev', logFile: join(folder, 'dev.log') });
    guest = await connected;
  });
  afterEach(() => {
    relay[Symbol.dispose]();
    guest.destroy();
    server.close();
  });

  test('has many readers, and wakes those that wait', async () => {
    const waiting = [relay.read({ waitMs: 5_000 }), relay.read({ from: 0, waitMs: 5_000 })];
    guest.write('hello');
    for (const chunk of await Promise.all(waiting)) expect(text(chunk.bytes)).toBe('hello');
    expect(text((await relay.read({ from: 3 })).bytes)).toBe('lo');
    expect((await relay.read({ from: 5, waitMs: 10 })).bytes.length).toBe(0);
    expect(readFileSync(join(folder, 'dev.log'), 'utf8')).toBe('hello');
  });

  test('tells a slow reader what it missed', async () => {
    guest.write(Buffer.alloc(CONSOLE_RING + 100, 'x'));
    while ((await relay.read({ from: 0 })).next < CONSOLE_RING + 100) await new Promise((r) => setTimeout(r, 5));
    const chunk = await relay.read({ from: 0 });
    expect([chunk.bytes.length, chunk.missed]).toEqual([CONSOLE_RING, 100]);
  });

  test('types to the guest, until that reads no more', async () => {
    const typed = new Promise((resolve) => guest.once('data', resolve));
    relay.write(Buffer.from('ls\n'));
    expect(String(await typed)).toBe('ls\n');
    guest.pause();
    const flood = (): void => {
      for (let i = 0; i < 1000; i++) relay.write(Buffer.alloc(4096));
    };
    expect(flood).toThrow('wait to be read by the guest');
  });

  test('can be read to the end when the machine is gone', async () => {
    guest.end('bye');
    let chunk = await relay.read({ from: 0, waitMs: 5_000 });
    while (!chunk.ended) chunk = await relay.read({ from: chunk.next, waitMs: 5_000 });
    expect(text((await relay.read({ from: 0 })).bytes)).toBe('bye');
    expect(() => relay.write(Buffer.from('x'))).toThrow('its machine has ended');
  });
});
