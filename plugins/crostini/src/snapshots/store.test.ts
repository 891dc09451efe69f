import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SnapshotStore } from './store.ts';

let folder: string;
let store: SnapshotStore;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'snapshots-'));
  store = new SnapshotStore({ folder: join(folder, 'all'), max: 2 });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const rest = { program: 'qemu', shape: 'pc', slots: { block0: 2 } };
const add = (key: string) =>
  store.add(key, async (path) => {
    mkdirSync(path);
    writeFileSync(join(path, 'machine'), key);
    return { path, ...rest };
  });

test('what was added is found, and what was removed is not', async () => {
  expect(store.find('a')).toBeUndefined();
  await add('a');
  const found = store.find('a');
  expect(found).toEqual({ path: join(folder, 'all/a/state'), ...rest });
  expect(existsSync(join(found?.path ?? '', 'machine'))).toBe(true);
  store.remove('a');
  expect(store.find('a')).toBeUndefined();
});

test('what was not written to its end leaves nothing', async () => {
  const failing = store.add('a', async (path) => {
    mkdirSync(path);
    throw new Error('no room');
  });
  await expect(failing).rejects.toThrow('no room');
  expect(readdirSync(join(folder, 'all'))).toEqual([]);
});

test('those that were not used for longest go', async () => {
  const used = (key: string, at: number) => utimesSync(join(folder, 'all', key, 'snapshot.json'), at, at);
  await add('a');
  used('a', 1_000);
  await add('b');
  used('b', 2_000);
  store.find('a');
  await add('c');
  expect(readdirSync(join(folder, 'all')).toSorted()).toEqual(['a', 'c']);
});

test.each(['', '{', '{"version":2}', '{"version":1,"program":"q","shape":"s","slots":{"block0":99}}'])(
  'a manifest that cannot be understood, %j, is removed with its snapshot',
  async (text) => {
    await add('a');
    writeFileSync(join(folder, 'all/a/snapshot.json'), text);
    expect(store.find('a')).toBeUndefined();
    expect(readdirSync(join(folder, 'all'))).toEqual([]);
  },
);
