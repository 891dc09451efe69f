import { closeSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { mapAnonymous } from '../linux/mapping.ts';
import { memfdCreate } from '../linux/memfd.ts';
import { rawPwrite } from '../linux/raw-io.ts';
import { createIoEngine } from './device-io-engine.ts';

const BYTES = 2 ** 20;
const PARTS = 16;
const NO_WAKE = new Int32Array(0);

test.each(['io_uring', 'sync'] as const)('reads that go aside end as others do (%s)', (kind) => {
  using io = createIoEngine(kind);
  using source = mapAnonymous(BYTES);
  using target = mapAnonymous(BYTES * PARTS);
  const file = memfdCreate('aside');
  onTestFinished(() => closeSync(file));
  new Uint32Array(source.buffer).forEach((_, i, words) => {
    words[i] = i;
  });
  expect(rawPwrite(file, source.address, BYTES, 0)).toBe(BYTES);
  const ended = new Map<number, number>();
  io.onComplete = (token, result) => ended.set(token, result);
  const until = performance.now() + 10_000;
  // More at once than may be aside, and more often than that: a place that was taken is free again.
  for (let round = 0; round < 3; round++) {
    new Uint8Array(target.buffer).fill(0);
    ended.clear();
    for (let part = 0; part < PARTS; part++) io.read(file, target.address + part * BYTES, BYTES, 0, part, true);
    expect(io.inFlight).toBe(PARTS);
    while (io.inFlight > 0 && performance.now() < until) io.run(1000, NO_WAKE, 0);
    expect([...ended.values()]).toEqual(new Array(PARTS).fill(BYTES));
    for (let part = 0; part < PARTS; part++) {
      const copy = Buffer.from(target.buffer, part * BYTES, BYTES);
      expect(Buffer.compare(copy, Buffer.from(source.buffer))).toBe(0);
    }
  }
});

test('one that fails says why', () => {
  using io = createIoEngine();
  using target = mapAnonymous(4096);
  const results: number[] = [];
  io.onComplete = (_token, result) => results.push(result);
  io.read(-1, target.address, 4096, 0, 1, true);
  io.run(1000, NO_WAKE, 0);
  expect(results).toEqual([-9]);
});
