import {
  closeSync,
  fstatSync,
  mkdtempSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memfdCreate } from '@runtime/sdk/linux';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openSavedMemory, saveMemory } from './saved-memory.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'memory-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const MIB = 2 ** 20;

function memoryWith(size: number, parts: readonly (readonly [at: number, bytes: Uint8Array])[]): number {
  const fd = memfdCreate('test', { size });
  for (const [at, bytes] of parts) writeSync(fd, bytes, 0, bytes.length, at);
  return fd;
}

function content(fd: number): Buffer {
  const all = Buffer.alloc(fstatSync(fd).size);
  readSync(fd, all, 0, all.length, 0);
  return all;
}

async function roundTrip(size: number, parts: readonly (readonly [number, Uint8Array])[]): Promise<void> {
  const fd = memoryWith(size, parts);
  await saveMemory(fd, folder);
  const { fd: again, fill } = openSavedMemory(folder, size);
  await fill();
  expect(content(again).equals(content(fd))).toBe(true);
  closeSync(fd);
  closeSync(again);
}

test('memory comes back as it was, and zeroes take no room', async () => {
  const ones = Buffer.alloc(8192, 1);
  await roundTrip(16 * MIB, [
    [0, ones],
    [MIB - 4096, ones],
    [5 * MIB + 100, ones],
    [7 * MIB, Buffer.alloc(2 * MIB)],
    [16 * MIB - 8192, ones],
  ]);
  expect(statSync(join(folder, 'memory')).size).toBeLessThan(100_000);
});

test('whatever it holds', async () => {
  const part = fc.tuple(fc.nat(4 * MIB - 70_000), fc.uint8Array({ minLength: 1, maxLength: 70_000 }));
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 20 }), async (parts) => {
      rmSync(folder, { recursive: true });
      folder = mkdtempSync(join(tmpdir(), 'memory-'));
      await roundTrip(4 * MIB, parts);
    }),
    { numRuns: 30 },
  );
});

test('what is damaged is refused', async () => {
  const fd = memoryWith(2 * MIB, [[4096, Buffer.alloc(200_000, 7)]]);
  await saveMemory(fd, folder);
  closeSync(fd);
  const load = async (size = 2 * MIB): Promise<void> => {
    const memory = openSavedMemory(folder, size);
    await memory.fill().finally(() => closeSync(memory.fd));
  };
  await load();
  await expect(load(4 * MIB)).rejects.toThrow('2097152 bytes of memory');
  const file = join(folder, 'memory');
  const good = readFileSync(file);
  const bad = Buffer.from(good);
  bad[1234] = 8;
  writeFileSync(file, bad);
  await expect(load()).rejects.toThrow('is damaged');
  truncateSync(file, 1000);
  await expect(load()).rejects.toThrow('1000 bytes');
  writeFileSync(file, good);
  const index = join(folder, 'memory.json');
  writeFileSync(index, readFileSync(index, 'utf8').replace('[[4096', '[[2097000'));
  await expect(load()).rejects.toThrow('index is damaged');
  writeFileSync(index, '{');
  await expect(load()).rejects.toThrow();
});
