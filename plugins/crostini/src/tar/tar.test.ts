import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BLOCK, padding, readHeader, type TarHeader, writeHeader } from './format.ts';
import { type Unpacked, unpack } from './unpack.ts';

let outer = '';
let into = '';
beforeEach(() => {
  outer = mkdtempSync(join(tmpdir(), 'tar-'));
  into = mkdtempSync(join(outer, 'into-'));
});
afterEach(() => rmSync(outer, { recursive: true }));

const entry = (path: string, type: string, more: Partial<TarHeader> & { content?: string } = {}): Buffer => {
  const content = Buffer.from(more.content ?? '');
  const { content: _, ...rest } = more;
  const header = { path, type, mode: 0o644, mtime: 1, linkPath: '', size: content.length, ...rest };
  return Buffer.concat([writeHeader(header), content, Buffer.alloc(padding(content.length))]);
};
const end = Buffer.alloc(2 * BLOCK);

async function* cut(bytes: Buffer, size = 700): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const take = (...entries: Buffer[]): Promise<Unpacked> => unpack(cut(Buffer.concat([...entries, end])), 'root', into);
const refused = expect.objectContaining({ code: 'CROSTINI_ERR_COPY' });

test('paths that are not beneath the root are refused, and nothing is written beside it', async () => {
  const paths = [
    '/etc/x',
    '../x',
    'root/../../x',
    'root/./x',
    'root//x',
    'other',
    'roots/x',
    '',
    '..',
    'root/a/../x',
    '/',
  ];
  for (const path of paths) {
    await expect(take(entry(path, '0', { content: 'x' })), path).rejects.toEqual(refused);
    await expect(take(entry(path, '5')), path).rejects.toEqual(refused);
  }
  await expect(take(entry(`root${'/a'.repeat(200)}`, '0'))).rejects.toEqual(refused);
  await expect(take(entry(`root/${'a/'.repeat(3000)}`, '5'))).rejects.toEqual(refused);
  expect(readdirSync(outer)).toHaveLength(1);
  expect(readdirSync(into)).toEqual([]);
});

test('links that lead out are left out, those within stay, and none is followed', async () => {
  const links = ['/etc', '..', 'a/../..', '../x', 'a/..', ''];
  const result = await take(
    entry('root', '5', { mode: 0o755 }),
    entry('root/a', '5', { mode: 0o755 }),
    ...links.map((linkPath, i) => entry(`root/bad${i}`, '2', { linkPath })),
    entry('root/a/good', '2', { linkPath: '../a' }),
    entry('root/hard', '1', { linkPath: '/etc/passwd' }),
    entry('root/device', '3'),
    entry('root/pipe', '6'),
  );
  expect(readdirSync(join(into, 'root')).sort()).toEqual(['a']);
  expect(readdirSync(join(into, 'root', 'a'))).toEqual(['good']);
  expect(result.leftOutCount).toBe(links.length + 3);
  // What comes through a link that was sent before it is a file where that link is.
  rmSync(join(into, 'root'), { recursive: true });
  const through = take(entry('root/l', '2', { linkPath: '.' }), entry('root/l/x', '0', { content: 'x' }));
  await expect(through).rejects.toMatchObject({ code: 'EEXIST' });
});

test('a name that comes twice does not change what is there', async () => {
  const twice = take(entry('root', '0', { content: 'one' }), entry('root', '0', { content: 'two' }));
  await expect(twice).rejects.toMatchObject({ code: 'EEXIST' });
  expect(readFileSync(join(into, 'root'), 'utf8')).toBe('one');
});

test('set-user-id and other bits are not taken over; a hard link within is one', async () => {
  await take(entry('root/a', '0', { mode: 0o4755, content: 'x' }), entry('root/b', '1', { linkPath: 'root/a' }));
  const [a, b] = ['a', 'b'].map((name) => statSync(join(into, 'root', name)));
  expect((a?.mode ?? 0) & 0o7777).toBe(0o755);
  expect(a?.ino).toBe(b?.ino);
});

test('an archive that ends early, or is none, is refused', async () => {
  const whole = entry('root', '0', { content: 'x'.repeat(2000) });
  await expect(unpack(cut(whole.subarray(0, 1500)), 'root', into)).rejects.toEqual(refused);
  await expect(unpack(cut(Buffer.alloc(0)), 'root', into)).rejects.toEqual(refused);
  await expect(unpack(cut(Buffer.alloc(BLOCK, 'x')), 'root', into)).rejects.toEqual(refused);
});

test('headers come back as they were', () => {
  const name = fc
    .string({ minLength: 1, maxLength: 90, unit: 'grapheme-ascii' })
    .filter((text) => !text.includes('\0'));
  fc.assert(
    fc.property(
      name,
      fc.integer({ min: 0, max: 0o777 }),
      fc.integer({ min: 0, max: 2 ** 33 - 1 }),
      (path, mode, size) => {
        const header = { path, type: '0', mode, size, mtime: 5, linkPath: '' };
        expect(readHeader(writeHeader(header))).toEqual(header);
      },
    ),
  );
});

test('mutated archives end in files beneath the root, or in an error that is told', async () => {
  const seed = Buffer.concat([
    entry('root', '5', { mode: 0o755 }),
    entry(`root/${'n'.repeat(150)}`, '0', { content: 'hello' }),
    entry('root/l', '2', { linkPath: 'x' }),
    end,
  ]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(seed.length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 1000 }),
      async (changes, size) => {
        const bytes = Buffer.from(seed);
        for (const [at, value] of changes) bytes[at] = value;
        // A sum that is wrong would hide what lies behind it.
        for (let at = 0; at + BLOCK <= bytes.length; at += BLOCK) mend(bytes.subarray(at, at + BLOCK));
        const outcome = await unpack(cut(bytes, size), 'root', into).catch((e: NodeJS.ErrnoException) => e);
        if (outcome instanceof Error)
          expect(outcome).toMatchObject({ code: expect.stringMatching(/^(CROSTINI|E[A-Z])/) });
        expect(readdirSync(outer)).toHaveLength(1);
        expect(readdirSync(into).filter((name) => name !== 'root')).toEqual([]);
        if (existsSync(join(into, 'root'))) rmSync(join(into, 'root'), { recursive: true });
      },
    ),
    { numRuns: 300 },
  );
});

function mend(block: Buffer): void {
  if (block.subarray(257, 262).toString() !== 'ustar') return;
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
}
