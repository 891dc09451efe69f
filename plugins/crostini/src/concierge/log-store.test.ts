import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { LogRecord } from './log-records.ts';
import { encodeLogName, LogStore } from './log-store.ts';

const MIB = 2 ** 20;
const key = { owner: 'ab', name: '../ä' };

let folder: string;
let store: LogStore;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'logs-'));
  store = new LogStore(folder, { maxMib: 1, files: 3, vms: 2 });
});
afterEach(() => {
  store[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

const record = (time: number, text = `line ${time}`, source: LogRecord['source'] = 'user'): LogRecord => ({
  ...{ time, source, priority: 'info', text },
});
const texts = (records: readonly LogRecord[]) => records.map(({ text }) => text);
const at = (name: string): string => join(folder, key.owner, encodeLogName(key.name), name);

test('what was appended is read by its time, also by another runtime', async () => {
  store.append(key, [record(3), record(1, 'first', 'kernel')]);
  store.append(key, [record(2, 'with \u001b[31m and "\n"', 'console')]);
  expect(texts(await store.read(key))).toEqual(['first', 'with \u001b[31m and "\n"', 'line 3']);
  store[Symbol.dispose]();
  const next = new LogStore(folder, { maxMib: 1, files: 3, vms: 2 });
  next.append(key, [record(4)]);
  expect(texts(await next.read(key, { lines: 2 }))).toEqual(['line 3', 'line 4']);
  expect(texts(await next.read(key, { since: 2, sources: ['console', 'kernel'] }))).toHaveLength(1);
  next[Symbol.dispose]();
});

test('the folder of a VM lies in that of its owner, and only the user may read it', () => {
  store.append(key, [record(1)]);
  expect(readdirSync(folder)).toEqual(['ab']);
  expect(statSync(at('.')).mode & 0o777).toBe(0o700);
  expect(statSync(at('current.log')).mode & 0o777).toBe(0o600);
});

test('files are put aside when they are full, and the oldest goes', async () => {
  const text = 'x'.repeat(4000);
  for (let time = 1; time <= 1200; time++) store.append(key, [record(time, `${time} ${text}`)]);
  const files = readdirSync(at('.')).sort();
  expect(files).toEqual(['current.log', 'current.log.1', 'current.log.2']);
  for (const file of files) expect(statSync(at(file)).size).toBeLessThanOrEqual(MIB);
  const kept = await store.read(key);
  const times = kept.map(({ time }) => time);
  expect(times.at(-1)).toBe(1200);
  expect(times).toEqual(Array.from(times, (_, index) => (times[0] ?? 0) + index));
  expect(times.length).toBeGreaterThan(500);
});

test('a smaller bound drops the files that are too many', () => {
  store.append(key, [record(1)]);
  for (const name of ['current.log.1', 'current.log.2']) appendFileSync(at(name), 'old\n');
  store[Symbol.dispose]();
  new LogStore(folder, { maxMib: 1, files: 2, vms: 2 }).append(key, [record(2)]);
  expect(readdirSync(at('.')).sort()).toEqual(['current.log', 'current.log.1']);
});

test('what is no record is passed over, and reading goes on while files are put aside', async () => {
  store.append(key, [record(1)]);
  appendFileSync(at('current.log'), `${'{"t":'.repeat(50_000)}\nnull\n{"t":1,"s":"other","p":"info","m":""}\n\u0000`);
  const reading = store.read(key);
  for (let time = 2; time < 400; time++) store.append(key, [record(time, 'y'.repeat(4000))]);
  expect(texts(await reading)).toEqual(['line 1']);
});

test('removing takes all of it, and what comes then begins anew', async () => {
  store.append(key, [record(1)]);
  expect(store.has(key)).toBe(true);
  store.remove(key);
  expect(store.has(key)).toBe(false);
  expect(await store.read(key)).toEqual([]);
  store.append(key, [record(2)]);
  expect(texts(await store.read(key))).toEqual(['line 2']);
});

test('a folder that cannot be written to costs the log alone', async () => {
  mkdirSync(join(folder, 'ab'), { recursive: true });
  appendFileSync(join(folder, 'ab', encodeLogName(key.name)), 'in the way');
  store.append(key, [record(1)]);
  expect(readFileSync(join(folder, 'ab', encodeLogName(key.name)), 'utf8')).toBe('in the way');
});

test('of VMs that have ended, those that were silent for longest lose their logs', () => {
  const names = ['one', 'two', 'three'];
  for (const [index, name] of names.entries()) {
    const one = { owner: 'ab', name };
    store.append(one, [record(1)]);
    store.close(one);
    const when = new Date(1_000_000 * (index + 1));
    for (const path of ['.', 'current.log']) utimesSync(join(folder, 'ab', encodeLogName(name), path), when, when);
  }
  store.append({ owner: 'ab', name: 'four' }, [record(1)]);
  store.append({ owner: 'cd', name: 'five' }, [record(1)]);
  expect(readdirSync(join(folder, 'ab')).sort()).toEqual([encodeLogName('four'), encodeLogName('three')].sort());
});
