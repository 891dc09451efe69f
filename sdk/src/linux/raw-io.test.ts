import { closeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { mapAnonymous } from './mapping.ts';
import { memfdCreate } from './memfd.ts';
import {
  copyMemory,
  errnoName,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  MSG,
  RWF,
  rawFallocate,
  rawFdatasync,
  rawFsync,
  rawPread,
  rawPreadv,
  rawPreadv2,
  rawPwrite,
  rawPwritev,
  rawPwritev2,
  rawRead,
  rawReadv,
  rawRecv,
  rawSend,
  rawWrite,
  rawWritev,
} from './raw-io.ts';
import { shutdownSocket } from './sockets.ts';
import { socketPair } from './unix-socket.ts';

/** Data at 0, two iovecs of 3 and 5 bytes of it at 2048. */
function memory() {
  const mapping = mapAnonymous(4096);
  const bytes = Buffer.from(mapping.buffer);
  const iovecs = mapping.address + 2048;
  for (const [i, [address, length]] of [
    [mapping.address, 3],
    [mapping.address + 64, 5],
  ].entries()) {
    bytes.writeBigUInt64LE(BigInt(address as number), 2048 + i * 16);
    bytes.writeBigUInt64LE(BigInt(length as number), 2056 + i * 16);
  }
  return { mapping, bytes, address: mapping.address, iovecs };
}

test('vectors are gathered and scattered', () => {
  const { mapping, bytes, iovecs } = memory();
  const fd = memfdCreate('vectors', { size: 64 });
  bytes.write('abc', 0);
  bytes.write('defgh', 64);
  expect(rawPwritev(fd, iovecs, 2, 10)).toBe(8);
  bytes.fill(0, 0, 128);
  expect(rawPreadv(fd, iovecs, 2, 11)).toBe(8);
  expect([bytes.toString('latin1', 0, 3), bytes.toString('latin1', 64, 68)]).toEqual(['bcd', 'efgh']);
  expect(rawPwritev2(fd, iovecs, 1, 20, RWF.dsync)).toBe(3);
  expect(rawPreadv2(fd, iovecs, 2, 60, 0)).toBe(4);
  expect([rawFdatasync(fd), rawFsync(fd)]).toEqual([0, 0]);
  closeSync(fd);
  mapping[Symbol.dispose]();
});

test('sockets are read and written by address', () => {
  const { mapping, bytes, address, iovecs } = memory();
  const [a, b] = socketPair('stream');
  expect(errnoName(rawRead(b, address, 8))).toBe('EAGAIN');
  bytes.write('hello', 0);
  expect(rawWrite(a, address, 5)).toBe(5);
  expect(rawReadv(b, iovecs, 2)).toBe(5);
  expect(rawWritev(a, iovecs, 2)).toBe(8);
  expect(rawRecv(b, address + 100, 100, MSG.dontwait | MSG.peek)).toBe(8);
  expect(rawRead(b, address + 100, 100)).toBe(8);
  shutdownSocket(b, 'read');
  expect(errnoName(rawSend(a, address, 1, MSG.nosignal))).toBe('EPIPE');
  for (const fd of [a, b]) closeSync(fd);
  mapping[Symbol.dispose]();
});

test('holes are punched', () => {
  const { mapping, bytes, address } = memory();
  const fd = memfdCreate('holes', { size: 4096 });
  bytes[0] = 1;
  rawPwrite(fd, address, 1, 100);
  expect(rawFallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, 4096)).toBe(0);
  expect(rawPread(fd, address, 1, 100)).toBe(1);
  expect(bytes[0]).toBe(0);
  expect(errnoName(rawFallocate(fd, 0, -1, 1))).toBe('EINVAL');
  closeSync(fd);
  mapping[Symbol.dispose]();
});

test('errors have their names, with either sign', () => {
  expect([errnoName(5), errnoName(-5), errnoName(9999)]).toEqual(['EIO', 'EIO', 'E9999']);
});

test('memory is copied by address, also onto itself', () => {
  const { mapping, bytes, address } = memory();
  bytes.write('abcdef', 0);
  copyMemory(address + 2, address, 4);
  expect(bytes.toString('latin1', 0, 6)).toBe('ababcd');
  mapping[Symbol.dispose]();
});
