import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { definePlugin } from '@runtime/sdk';
import { createTestRuntime } from '@runtime/sdk/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { addTerminaSnapshots } from '../cli/termina-snapshots.ts';
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

test('those that are whole are listed, and removed by the beginning of their name', async () => {
  const plugin = definePlugin({
    name: 'snapshots',
    setup: ({ commands }) => addTerminaSnapshots(commands, async () => store),
  });
  await using runtime = await createTestRuntime({ plugins: [plugin] });
  const ids = async (): Promise<unknown> => (await runtime.run('termina snapshot list')).data;
  const remove = (args: string[], all = false) => runtime.run('termina snapshot remove', { args, options: { all } });
  expect(await ids()).toEqual([[]]);
  await add('abc');
  await add('abd');
  mkdirSync(join(folder, 'all/unfinished'));
  expect(await ids()).toMatchObject([[{ id: expect.any(String), bytes: expect.any(Number) }, {}]]);
  for (const wrong of [remove([]), remove(['ab']), remove(['x']), remove(['']), remove(['abc'], true)]) {
    await expect(wrong).rejects.toMatchObject({ code: 'CROSTINI_ERR_USAGE' });
  }
  await remove(['abc']);
  expect(store.list().map(({ key }) => key)).toEqual(['abd']);
  await remove([], true);
  expect(store.list()).toEqual([]);
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
