import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ensureMade, hashOf, imageCache, writeWhole } from './cache.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'runtime-cache-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('the folder is where the user says', () => {
  expect(imageCache({ HOME: '/home/x' })).toBe('/home/x/.cache/runtime/image');
  expect(imageCache({ HOME: '/home/x', XDG_CACHE_HOME: '/c' })).toBe('/c/runtime/image');
  expect(imageCache({ HOME: '/home/x', XDG_CACHE_HOME: 'relative' })).toBe('/home/x/.cache/runtime/image');
  expect(imageCache({ HOME: '/home/x', XDG_CACHE_HOME: '/c', RUNTIME_CACHE: '/r' })).toBe('/r/image');
});

test('hashes tell parts apart', () => {
  expect(hashOf('a', 'b')).toBe(hashOf('a', 'b'));
  expect(new Set([hashOf('a', 'b'), hashOf('ab'), hashOf(['a', 'b']), hashOf('b', 'a')]).size).toBe(4);
  expect(hashOf(Buffer.from('x'))).toMatch(/^[0-9a-f]{32}$/);
});

test('what is there is not made again, and what failed leaves nothing', async () => {
  const path = join(folder, 'a/b');
  let made = 0;
  const make = async (at: string): Promise<void> => {
    made += 1;
    writeFileSync(at, 'x');
  };
  expect(await ensureMade(path, make)).toBe(path);
  expect(await ensureMade(path, make)).toBe(path);
  expect(made).toBe(1);
  const failing = async (at: string): Promise<void> => {
    mkdirSync(at);
    throw new Error('no');
  };
  await expect(ensureMade(join(folder, 'a/c'), failing)).rejects.toThrow('no');
  expect(readdirSync(join(folder, 'a'))).toEqual(['b']);
});

test('of several who make the same folder at once one wins, and none fails', async () => {
  const path = join(folder, 'tree');
  const make = (n: number) => async (at: string) => {
    mkdirSync(at);
    await new Promise((resolve) => setTimeout(resolve, n));
    writeFileSync(join(at, 'who'), String(n));
  };
  const late = async (): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, 30));
    throw new Error('what it is made of is gone');
  };
  await Promise.all([ensureMade(path, make(10)), ensureMade(path, make(5)), ensureMade(path, late)]);
  expect(readFileSync(join(path, 'who'), 'utf8')).toBe('5');
  expect(readdirSync(folder)).toEqual(['tree']);
});

test('what was left half made long ago is removed, what is being made is not', async () => {
  const old = join(folder, `.tmp-${Date.now() - 25 * 3_600_000}-1-x`);
  const young = join(folder, `.tmp-${Date.now() - 23 * 3_600_000}-2-x`);
  mkdirSync(old);
  mkdirSync(young);
  // As dpkg-deb does it to the folder which it unpacks a package into.
  utimesSync(young, new Date(0), new Date(0));
  await ensureMade(join(folder, 'x'), async (at) => writeFileSync(at, ''));
  expect([existsSync(old), existsSync(young)]).toEqual([false, true]);
});

test('a file is replaced whole', () => {
  const path = join(folder, 'deep/pin.json');
  writeWhole(path, '1');
  writeWhole(path, '2');
  expect(readFileSync(path, 'utf8')).toBe('2');
  expect(readdirSync(join(folder, 'deep'))).toEqual(['pin.json']);
});
