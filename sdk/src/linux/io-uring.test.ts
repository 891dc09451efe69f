import { closeSync, openSync } from 'node:fs';
import { afterAll, expect, test, vi } from 'vitest';
import { drainEventfd, eventfd, signalEventfd } from './eventfd.ts';
import {
  IORING_ASYNC_CANCEL,
  IORING_CQE_F_MORE,
  IORING_FSYNC_DATASYNC,
  IORING_OP,
  IORING_POLL_ADD_MULTI,
  IOSQE,
  IoUring,
} from './io-uring.ts';
import { mapAnonymous } from './mapping.ts';
import { memfdCreate } from './memfd.ts';
import { errnoName, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE } from './raw-io.ts';
import { watch } from './watch.ts';

const offered = IoUring.create(4);
offered?.[Symbol.dispose]();
if (offered === undefined)
  process.stdout.write('io_uring is not offered here (ENOSYS or EPERM), its tests are skipped\n');
const ringTest = test.skipIf(offered === undefined);

const memory = mapAnonymous(65_536);
const bytes = Buffer.from(memory.buffer);
afterAll(() => memory[Symbol.dispose]());

function ring(entries: number): IoUring {
  const made = IoUring.create(entries);
  if (made === undefined) throw new Error('not offered');
  return made;
}

/** [userData, result, flags, auxiliary] of all completions that are there. */
function reapAll(uring: IoUring): number[][] {
  const all: number[][] = [];
  uring.reap((...completion) => all.push(completion));
  return all;
}

ringTest('reads and writes complete with what they did, in one call', () => {
  using uring = ring(8);
  const fd = memfdCreate('uring', { size: 2 ** 33 });
  bytes.write('written by the ring', 0);
  uring.prepare(IORING_OP.write | IOSQE.link, fd, memory.address, 19, 2 ** 32 + 5, 0, 1);
  uring.prepare(IORING_OP.fsync | IOSQE.link, fd, 0, 0, 0, IORING_FSYNC_DATASYNC, 2);
  uring.prepare(IORING_OP.read, fd, memory.address + 4096, 64, 2 ** 32 + 5, 0, 3, 0xffff_ffff);
  expect([uring.free, uring.submit(3), uring.free, uring.inFlight]).toEqual([5, 3, 8, 3]);
  expect(reapAll(uring)).toEqual([
    [1, 19, 0, 0],
    [2, 0, 0, 0],
    [3, 64, 0, 0xffff_ffff],
  ]);
  expect(uring.inFlight).toBe(0);
  expect(bytes.toString('latin1', 4096, 4115)).toBe('written by the ring');
  closeSync(fd);
});

ringTest('vectors, holes and errors', () => {
  using uring = ring(8);
  const fd = memfdCreate('uring', { size: 8192 });
  bytes.writeBigUInt64LE(BigInt(memory.address + 100), 1024);
  bytes.writeBigUInt64LE(4n, 1032);
  bytes.writeBigUInt64LE(BigInt(memory.address + 200), 1040);
  bytes.writeBigUInt64LE(4n, 1048);
  bytes.write('abcd', 100);
  bytes.write('efgh', 200);
  const iovecs = memory.address + 1024;
  uring.prepare(IORING_OP.writev, fd, iovecs, 2, 0, 0, 1);
  uring.submit(1);
  uring.prepare(IORING_OP.readv, fd, iovecs, 2, 2, 0, 2);
  uring.submit(1);
  uring.prepare(IORING_OP.fallocate, fd, 4096, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 0, 0, 3);
  uring.prepare(IORING_OP.read, -1, memory.address, 1, 0, 0, 4);
  uring.prepare(IORING_OP.read, fd, 8, 1, 0, 0, 5);
  uring.submit(5);
  const results = new Map(reapAll(uring).map(([userData, result]) => [userData, result as number]));
  expect([results.get(1), results.get(2), results.get(3)]).toEqual([8, 8, 0]);
  expect(bytes.toString('latin1', 100, 104) + bytes.toString('latin1', 200, 202)).toBe('cdefgh');
  expect([errnoName(results.get(4) ?? 0), errnoName(results.get(5) ?? 0)]).toEqual(['EBADF', 'EFAULT']);
  closeSync(fd);
});

ringTest('waiting ends in time, without a completion', () => {
  using uring = ring(2);
  const start = performance.now();
  expect(uring.submit(1, 20_000)).toBe(0);
  const took = performance.now() - start;
  expect(took).toBeGreaterThanOrEqual(19);
  expect(took).toBeLessThan(2000);
  expect(uring.submit(0, 0)).toBe(0);
});

ringTest('a timeout completes with ETIME', () => {
  using uring = ring(2);
  bytes.writeBigInt64LE(0n, 512);
  bytes.writeBigInt64LE(1_000_000n, 520);
  uring.prepare(IORING_OP.timeout, -1, memory.address + 512, 1, 0, 0, 9);
  uring.submit(1);
  expect(reapAll(uring).map(([, result]) => errnoName(result as number))).toEqual(['ETIME']);
});

ringTest('one poll tells of many events, until it is cancelled', () => {
  using uring = ring(4);
  const fd = eventfd();
  uring.prepare(IORING_OP.pollAdd, fd, 0, IORING_POLL_ADD_MULTI, 0, 1, 5);
  uring.submit(0);
  for (let i = 0; i < 3; i++) {
    signalEventfd(fd);
    uring.submit(1, 1_000_000);
    const [[userData, result, flags] = []] = reapAll(uring);
    expect([userData, result, (flags ?? 0) & IORING_CQE_F_MORE, uring.inFlight]).toEqual([5, 1, IORING_CQE_F_MORE, 1]);
    drainEventfd(fd);
  }
  uring.prepare(IORING_OP.asyncCancel, -1, 0, 0, 0, IORING_ASYNC_CANCEL.any | IORING_ASYNC_CANCEL.all, 6);
  uring.submit(2);
  expect(reapAll(uring).map(([userData, result]) => [userData, errnoName(result as number)])).toContainEqual([
    5,
    'ECANCELED',
  ]);
  expect(uring.inFlight).toBe(0);
  closeSync(fd);
});

ringTest('everything in flight can be cancelled at once', () => {
  using uring = ring(4);
  const fd = eventfd();
  uring.prepare(IORING_OP.pollAdd, fd, 0, 0, 0, 1, 5);
  uring.submit(0);
  expect(uring.cancelAll(1000)).toBe(true);
  uring.submit(1, 1_000_000);
  expect(reapAll(uring).map(([, result]) => errnoName(result as number))).toEqual(['ECANCELED']);
  expect(uring.cancelAll(1000)).toBe(true);
  closeSync(fd);
});

ringTest('more completions than fit are not lost', () => {
  using uring = ring(4);
  const total = uring.completionEntries * 3;
  for (let i = 0; i < total; i++) {
    if (uring.free === 0) uring.submit(0);
    uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, i);
  }
  uring.submit(0);
  const seen = new Set<number>();
  for (let round = 0; round < 100 && seen.size < total; round++) {
    uring.reap((userData) => seen.add(userData));
    uring.submit(0);
  }
  expect(seen.size).toBe(total);
  expect(uring.inFlight).toBe(0);
});

ringTest('a full ring is an error, and what a callback throws loses nothing', () => {
  using uring = ring(2);
  uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, 1);
  uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, 2);
  expect(() => uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, 3)).toThrow('no more fits before submit');
  uring.submit(2);
  expect(() =>
    uring.reap(() => {
      throw new Error('mine');
    }),
  ).toThrow('mine');
  expect(reapAll(uring).map(([userData]) => userData)).toEqual([2]);
});

ringTest('a completion that begins and reaps others: each is told once', () => {
  using uring = ring(8);
  for (let i = 1; i <= 3; i++) uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, i);
  uring.submit(3);
  const told: number[] = [];
  uring.reap((userData) => {
    told.push(userData);
    if (userData !== 1) return;
    uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, 4);
    uring.submit(1);
    uring.reap((inner) => told.push(inner));
  });
  expect(told).toEqual([1, 2, 3, 4]);
  expect(uring.inFlight).toBe(0);
});

ringTest('an eventfd brings completions into the event loop', async () => {
  using uring = ring(2);
  const told = eventfd();
  const source = eventfd();
  uring.registerEventfd(told);
  uring.prepare(IORING_OP.pollAdd, source, 0, 0, 0, 1, 5);
  uring.submit(0);
  const seen: number[] = [];
  using _watching = watch(told, { readable: true }, () => {
    drainEventfd(told);
    uring.submit(0);
    uring.reap((userData) => seen.push(userData));
  });
  signalEventfd(source);
  await vi.waitFor(() => expect(seen).toEqual([5]));
  closeSync(source);
  setImmediate(() => closeSync(told));
});

ringTest('use after disposal is an error, also from within a completion', () => {
  const uring = ring(2);
  uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, 1);
  uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, 2);
  uring.submit(2);
  expect(uring.reap(() => uring[Symbol.dispose]())).toBe(1);
  expect([uring.fd, uring.free]).toEqual([-1, 0]);
  for (const use of [
    () => uring.prepare(IORING_OP.nop, -1, 0, 0, 0, 0, 1),
    () => uring.submit(0),
    () => uring.reap(() => {}),
    () => uring.registerEventfd(0),
    () => uring.cancelAll(1),
  ])
    expect(use).toThrow('io_uring cannot be used: the ring is closed');
  uring[Symbol.dispose]();
});

ringTest('sizes out of range are refused', () => {
  for (const entries of [0, -1, 1.5, 32_769]) expect(() => IoUring.create(entries)).toThrow('entries cannot be');
});

ringTest('the ring’s descriptor is not passed on', () => {
  using uring = ring(2);
  expect(() => closeSync(openSync(`/proc/self/fdinfo/${uring.fd}`, 'r'))).not.toThrow();
});
