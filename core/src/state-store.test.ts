import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Logger } from './logging.ts';
import { createStateStore } from './state-store.ts';

let directory: string;
let logged: string[];
const log: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: (_fields: object | string, message?: string) => void logged.push(message ?? ''),
  child: () => log,
};

beforeEach(async () => {
  logged = [];
  directory = await mkdtemp(join(tmpdir(), 'state-store-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test('what was written is read back, listed, and gone once removed', async () => {
  const store = createStateStore(join(directory, 'made', 'when', 'needed'), log);
  expect(await store.read('vms')).toBeUndefined();
  expect(await store.list()).toEqual([]);
  await store.write('vms', { a: [1, null, 'x'] });
  await store.write('b/c', true);
  expect(await store.read('vms')).toEqual({ a: [1, null, 'x'] });
  expect(await store.list()).toEqual(['b/c', 'vms']);
  await store.remove('vms');
  await store.remove('never was');
  expect(await store.read('vms')).toBeUndefined();
  expect(await store.list()).toEqual(['b/c']);
});

test('folder and documents are for this user only', async () => {
  const store = createStateStore(join(directory, 'private'), log);
  await store.write('secret', 1);
  expect((await stat(store.directory)).mode & 0o777).toBe(0o700);
  expect((await stat(join(store.directory, 'secret.json'))).mode & 0o777).toBe(0o600);
});

test.each([
  '../outside',
  '/etc/passwd',
  '.',
  '..',
  '.hidden',
  'a%2Fb',
  'a\0b',
  'line\nbreak',
  '~tilde',
  'ümläut 漢字 🙂',
  'x'.repeat(4096),
  '漢'.repeat(1000),
  'vms.json',
  '__proto__',
])('the name %j stays inside the folder and comes back', async (name) => {
  const store = createStateStore(join(directory, 'in'), log);
  await store.write(name, { name });
  expect(await store.list()).toEqual([name]);
  expect(await createStateStore(join(directory, 'in'), log).read(name)).toEqual({ name });
  expect(await readdir(directory)).toEqual(['in']);
  expect((await readdir(store.directory)).length).toBe(1);
});

test.each(['', 'x'.repeat(4097), '\ud800'])('the name %j is refused', async (name) => {
  const store = createStateStore(directory, log);
  await expect(store.write(name, 1)).rejects.toMatchObject({ code: 'CORE_ERR_DOCUMENT' });
});

test('any JSON value under any name comes back equal', async () => {
  const store = createStateStore(directory, log, { sync: false });
  const name = fc.string({ unit: 'binary', minLength: 1, maxLength: 400 });
  await fc.assert(
    fc.asyncProperty(name, fc.jsonValue(), async (n, value) => {
      await store.write(n, value);
      expect(await store.read(n)).toEqual(JSON.parse(JSON.stringify(value)));
      expect(await store.list()).toEqual([n]);
      await store.remove(n);
    }),
    { numRuns: 300 },
  );
});

test.each([
  ['undefined', undefined],
  ['a bigint', { n: 1n }],
  ['a function', () => 1],
])('%s is refused and the old document stays', async (_what, value) => {
  const store = createStateStore(directory, log);
  await store.write('d', 'old');
  await expect(store.write('d', value)).rejects.toMatchObject({ code: 'CORE_ERR_DOCUMENT' });
  expect(await store.read('d')).toBe('old');
});

test('a document that is too large is neither written nor read', async () => {
  const store = createStateStore(directory, log, { maxBytes: 100 });
  await expect(store.write('d', 'x'.repeat(99))).rejects.toMatchObject({
    code: 'CORE_ERR_DOCUMENT',
    message: expect.stringContaining('limit is 100'),
  });
  await store.write('d', 'x'.repeat(98));
  await writeFile(join(directory, 'e.json'), JSON.stringify('x'.repeat(99)));
  expect(await store.read('e')).toBeUndefined();
  expect(await readdir(directory)).toContain('e.json.damaged');
});

test('a damaged document is moved aside, logged, and reported as none', async () => {
  await writeFile(join(directory, 'd.json'), '{"half":');
  const store = createStateStore(directory, log);
  expect(await store.read('d')).toBeUndefined();
  expect(await readFile(join(directory, 'd.json.damaged'), 'utf8')).toBe('{"half":');
  expect(logged).toEqual(['a damaged state document was moved aside']);
  expect(await store.list()).toEqual([]);
  await store.write('d', 2);
  expect(await store.read('d')).toBe(2);
});

test('the last of many writes called at once stays, and the value is taken at the call', async () => {
  const store = createStateStore(directory, log, { sync: false });
  const value = { n: 0 };
  const writes: Promise<void>[] = [];
  for (value.n = 1; value.n <= 100; value.n += 1) writes.push(store.write('d', value));
  await Promise.all(writes);
  expect(await store.read('d')).toEqual({ n: 100 });
});

test('a caller that never awaits is refused at last', async () => {
  const store = createStateStore(directory, log, { sync: false });
  const results = await Promise.allSettled(Array.from({ length: 1001 }, (_, n) => store.write('d', n)));
  expect(results.filter((r) => r.status === 'rejected')).toHaveLength(1);
  await store.write('d', 'again');
  expect(await store.read('d')).toBe('again');
});

test('leftovers of dead writers go, those of living ones stay', async () => {
  const living = `.write-${process.pid}-${(await readFile('/proc/self/stat', 'latin1')).split(' ')[21]}-99999`;
  const dead = `.write-${process.pid}-1-7`;
  await writeFile(join(directory, living), 'x');
  await writeFile(join(directory, dead), 'x');
  const store = createStateStore(directory, log);
  await store.list();
  expect(await readdir(directory)).toEqual([living]);
});

test('a writer killed at any moment leaves the old document or the new one, and no litter', async () => {
  const writer = join(import.meta.dirname, 'test-programs', 'state-writer.ts');
  const seen = new Set<number>();
  for (let round = 0; round < 12; round += 1) {
    const child = fork(writer, [directory, String(round * 1000)], { execArgv: ['--conditions=@runtime/source'] });
    // The writer reports its writes; a kill a little after a random one of them lands anywhere in the next.
    const last = Math.ceil(Math.random() * 8);
    for (let n = 0; n < last; n += 1) await once(child, 'message');
    const exit = once(child, 'exit');
    const until = performance.now() + Math.random() * 10;
    while (performance.now() < until);
    child.kill('SIGKILL');
    await exit;
    const store = createStateStore(directory, log);
    const document = (await store.read('d')) as { n: number; fill: string };
    expect(logged).toEqual([]);
    expect(document.fill).toBe('f'.repeat((document.n % 7) * 500_000));
    expect(Math.floor(document.n / 1000)).toBe(round);
    expect(await store.list()).toEqual(['d']);
    expect(await readdir(directory)).toEqual(['d.json']);
    seen.add(document.n);
  }
  expect(seen.size).toBe(12);
});
