import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { quietLog } from '../test-programs/quiet-log.ts';
import { type ProcessRecord, parseRecord, RecordStore } from './records.ts';

const identity = { pid: 4711, start: 12, boot: 'b' };
const record: ProcessRecord = {
  version: 1,
  plugin: 'demo',
  key: 'disk/0',
  kind: 'device',
  cookie: 'i/demo/disk/0',
  detached: true,
  ready: true,
  process: identity,
  runtime: { ...identity, pid: 1 },
  data: { any: ['thing'] },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'records-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('a record comes back as it was, and is gone once removed', async () => {
  const store = new RecordStore(folder, quietLog());
  await store.write(record);
  expect(await new RecordStore(folder, quietLog()).all()).toEqual([record]);
  await store.remove(record);
  expect(await store.all()).toEqual([]);
});

test('a record that was tampered with is removed, and never acted on', async () => {
  const store = new RecordStore(folder, quietLog());
  await store.write(record);
  const [file = ''] = await readdir(join(folder, 'processes'));
  await writeFile(join(folder, 'processes', file), JSON.stringify({ ...record, key: 'other' }));
  await writeFile(join(folder, 'processes', 'x.json'), '{"pid": 1}');
  expect(await store.all()).toEqual([]);
  expect(await readdir(join(folder, 'processes'))).toEqual([]);
});

test.each([0, 1, -1, 1.5, '7', null])('pid %j is nobody to signal', (pid) => {
  expect(parseRecord({ ...record, process: { ...identity, pid } })).toBeUndefined();
});

test('a record with any field of another type is no record', () => {
  const names = Object.keys(record).filter((name) => name !== 'data' && name !== 'runtime') as (keyof ProcessRecord)[];
  for (const name of names) {
    expect(parseRecord({ ...record, [name]: undefined })).toBeUndefined();
    expect(parseRecord({ ...record, [name]: [] })).toBeUndefined();
  }
  fc.assert(fc.property(fc.anything(), (value) => parseRecord(value) === undefined));
});

test('without a state directory nothing is kept', async () => {
  const store = new RecordStore(undefined, quietLog());
  await store.write(record);
  expect(await store.all()).toEqual([]);
});
