// Copies that other plugins ask for.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DiskCopies } from './copies.ts';
import { createDisk, diskInfo } from './tool.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'disk-copies-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a raw disk goes into a qcow2 image and back', async () => {
  const [raw, packed, back] = ['raw', 'packed', 'back'].map((name) => join(folder, name)) as [string, string, string];
  const bytes = Buffer.alloc(2 ** 20);
  bytes.write('in the middle', 600_000);
  writeFileSync(raw, bytes);
  const copies = new DiskCopies();
  await copies.convert('a', { from: { path: raw, format: 'raw' }, to: { path: packed, format: 'qcow2' } });
  expect(diskInfo(packed, { format: 'qcow2' }).virtualSize).toBe(bytes.length);
  await copies.convert('a', { from: { path: packed, format: 'qcow2' }, to: { path: back, format: 'raw' } });
  expect(readFileSync(back).equals(bytes)).toBe(true);
  expect(await copies.progress('a')).toBeUndefined();
});

test('an image that lies on another file, or is too large, is refused', async () => {
  const base = join(folder, 'base');
  const over = join(folder, 'over');
  createDisk({ path: base, format: 'raw', size: 2 ** 20 });
  createDisk({ path: over, format: 'qcow2', backing: { path: base, format: 'raw' } });
  const copies = new DiskCopies();
  const to = { path: join(folder, 'out'), format: 'raw' } as const;
  await expect(copies.convert('a', { from: { path: over, format: 'qcow2' }, to })).rejects.toMatchObject({
    code: 'VMM_ERR_DISK_BACKING',
  });
  await expect(
    copies.convert('a', { from: { path: base, format: 'raw', maxSize: 2 ** 19 }, to }),
  ).rejects.toMatchObject({ code: 'VMM_ERR_DISK_SIZE' });
  expect(existsSync(to.path)).toBe(false);
});

test('one that is cancelled leaves nothing', async () => {
  const raw = join(folder, 'raw');
  const out = join(folder, 'out');
  createDisk({ path: raw, format: 'raw', size: 2 ** 30 });
  const copies = new DiskCopies();
  const copy = copies.convert('a', { from: { path: raw, format: 'raw' }, to: { path: out, format: 'qcow2' } });
  await copies.cancel('a');
  await expect(copy).rejects.toMatchObject({ code: 'VMM_ERR_DISK_COPY' });
  expect(existsSync(out)).toBe(false);
});
