import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  chooseImage,
  chooseNewest,
  chosenImage,
  findImage,
  type ImageRecord,
  listImages,
  recordImage,
  removeImage,
} from './termina-store.ts';

let folder: string;
const before = process.env.RUNTIME_CACHE;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'store-'));
  process.env.RUNTIME_CACHE = folder;
});
afterEach(() => {
  if (before === undefined) delete process.env.RUNTIME_CACHE;
  else process.env.RUNTIME_CACHE = before;
  rmSync(folder, { recursive: true, force: true });
});

async function made(first: string, madeAt: number, shared: Partial<ImageRecord> = {}): Promise<ImageRecord> {
  const id = first.padEnd(32, '0');
  const file = (name: string): string => {
    const path = join(folder, `${first}-${name}`);
    writeFileSync(path, name);
    return path;
  };
  return recordImage(id, async () => ({
    ...{ id, profile: 'fast', release: '6.12', rootHash: 'ab'.repeat(32), dataBlocks: 5, madeAt },
    ...{ kernel: file('kernel'), initrd: file('initrd'), verityInitrd: file('verity'), rootfs: file('rootfs') },
    ...shared,
  }));
}

test('images are listed, newest first, and found by the beginning of their id', async () => {
  expect(listImages()).toEqual([]);
  const [old, young] = [await made('ab1', 1), await made('ab2', 2)];
  expect(listImages()).toEqual([young, old]);
  expect(findImage('ab1')).toEqual(old);
  for (const id of ['ab', 'c', '']) {
    expect(() => findImage(id)).toThrow(expect.objectContaining({ code: 'CROSTINI_ERR_IMAGE_NOT_FOUND' }));
  }
});

test('what was chosen stays so until it is removed or the newest is chosen', async () => {
  const [old, other] = [await made('a', 1), await made('b', 2)];
  expect(chosenImage('fast')).toBeUndefined();
  chooseImage(old);
  expect(chosenImage('fast')).toEqual(old);
  expect(chosenImage('full')).toBeUndefined();
  chooseNewest('fast');
  expect(chosenImage('fast')).toBeUndefined();
  chooseImage(other);
  removeImage(other);
  expect(chosenImage('fast')).toBeUndefined();
  expect(listImages()).toEqual([old]);
});

test('what another image shares stays', async () => {
  const first = await made('a', 1);
  const second = await made('b', 2, { initrd: first.initrd });
  removeImage(second);
  expect(existsSync(first.initrd)).toBe(true);
  expect(existsSync(second.rootfs)).toBe(false);
  // Kernels are shared with other guests.
  expect(existsSync(second.kernel)).toBe(true);
});

test('old images make room for new ones, but not what was chosen or may be in use', async () => {
  const day = 24 * 3_600_000;
  const [a] = [await made('a', 1), await made('b', 2)];
  chooseImage(a);
  await made('c', day);
  await made('d', day + 1);
  await made('e', day + 2);
  await made('f', day + 3);
  expect(listImages().map(({ id }) => id[0])).toEqual(['f', 'e', 'd', 'c', 'a']);
});

test('a record that is damaged, or whose files are gone, is none', async () => {
  const image = await made('a', 1);
  rmSync(image.rootfs);
  expect(listImages()).toEqual([]);
  mkdirSync(join(folder, 'image/termina'), { recursive: true });
  writeFileSync(join(folder, 'image/termina', `${'c'.repeat(32)}.json`), '{"id":"../../etc"}');
  writeFileSync(join(folder, 'image/termina/use-fast'), '../../../etc/passwd\n');
  expect(listImages()).toEqual([]);
  expect(chosenImage('fast')).toBeUndefined();
});
