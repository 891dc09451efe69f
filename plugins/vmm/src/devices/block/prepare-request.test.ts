import { closeSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { prepareRequest } from './prepare-request.ts';

const raw = { format: 'raw', blockSize: 512 } as const;

test('a disk takes the size that its file has now', () => {
  const folder = mkdtempSync(join(tmpdir(), 'prepare-request-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, 2 ** 20);
  const disk = openSync(path, 'r+');
  onTestFinished(() => closeSync(disk));
  truncateSync(path, 3 * 2 ** 20);
  expect(prepareRequest(raw, disk, 'resize', {})).toEqual({ capacity: 3 * 2 ** 20 });
  expect(prepareRequest(raw, disk, 'resize', { shrink: true })).toEqual({ capacity: 3 * 2 ** 20, shrink: true });
});

test('sizes may be written with their unit', () => {
  expect(prepareRequest(raw, -1, 'resize', { capacity: '10G' })).toEqual({ capacity: 10 * 2 ** 30 });
  expect(prepareRequest(raw, -1, 'resize', { capacity: 4096 })).toEqual({ capacity: 4096 });
  expect(() => prepareRequest(raw, -1, 'resize', { capacity: '10X' })).toThrow('"10X" is no size');
});

test('an image that has its size inside is told which', () => {
  expect(() => prepareRequest({ ...raw, format: 'qcow2' }, -1, 'resize', {})).toThrow('name a capacity');
});

test('other requests pass as they are', () => {
  expect(prepareRequest(raw, -1, 'other', 'anything')).toBe('anything');
});
