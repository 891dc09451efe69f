import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { buildInitramfs, collectPrograms } from './initramfs.ts';
import { makeElf } from './test-elf.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'runtime-tree-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, bytes: Buffer): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), bytes, { mode: 0o755 });
}

/** A program, or a library, that is linked with others. */
function linked(libraries: readonly string[], interpreter?: string): Buffer {
  const strings = Buffer.from(`\0${libraries.map((name) => `${name}\0`).join('')}`);
  const tags = libraries.map((name) => [1, strings.indexOf(`${name}\0`)] as const);
  const dynamic = Buffer.alloc((tags.length + 2) * 16);
  [...tags, [5, 0x1000] as const].forEach(([tag, value], i) => {
    dynamic.writeUInt32LE(tag, i * 16);
    dynamic.writeUInt32LE(value, i * 16 + 8);
  });
  return makeElf(
    [],
    [
      ...(interpreter === undefined ? [] : [{ type: 3, address: 0, bytes: Buffer.from(`${interpreter}\0`) }]),
      { type: 1, address: 0x1000, bytes: strings },
      { type: 2, address: 0, bytes: dynamic },
    ],
  );
}

const LIB = 'usr/lib/x86_64-linux-gnu';

test('a program comes with its libraries, theirs, and the loader, through the links of packages', () => {
  put('usr/bin/tool', linked(['liba.so.1', 'libc.so.6'], '/lib64/ld.so.2'));
  put(`${LIB}/liba.so.1.2`, linked(['libb.so']));
  symlinkSync('liba.so.1.2', join(root, LIB, 'liba.so.1'));
  put('usr/lib/libb.so', linked(['libc.so.6']));
  put(`${LIB}/libc.so.6`, linked([]));
  put(`${LIB}/ld.so.2`, linked([]));
  mkdirSync(join(root, 'usr/lib64'));
  symlinkSync(`/lib/x86_64-linux-gnu/ld.so.2`, join(root, 'usr/lib64/ld.so.2'));
  const found = collectPrograms(root, ['/usr/bin/tool']);
  expect(Object.keys(found).sort()).toEqual(
    ['usr/bin/tool', 'usr/lib/libb.so', `${LIB}/liba.so.1`, `${LIB}/libc.so.6`, 'usr/lib64/ld.so.2'].sort(),
  );
  expect(found['usr/bin/tool']?.mode).toBe(0o755);
});

test('what is lacking is told', () => {
  put('usr/bin/tool', linked(['libgone.so.1']));
  put(`${LIB}/x`, linked([]));
  expect(() => collectPrograms(root, ['usr/bin/tool'])).toThrow('usr/bin/tool needs this library');
  expect(() => collectPrograms(root, ['usr/bin/other'])).toThrow('it is in none of the packages');
  put('usr/bin/script', Buffer.from('#!/bin/sh\n'));
  expect(() => collectPrograms(root, ['usr/bin/script'])).toThrow('it is no ELF file');
});

test('a link out of the tree is not followed out of it', () => {
  mkdirSync(join(root, 'usr/bin'), { recursive: true });
  mkdirSync(join(root, LIB), { recursive: true });
  symlinkSync('../../../../../../../../bin/sh', join(root, 'usr/bin/evil'));
  symlinkSync('evil2', join(root, 'usr/bin/evil2'));
  expect(() => collectPrograms(root, ['usr/bin/evil'])).toThrow('it is in none of the packages');
  expect(() => collectPrograms(root, ['usr/bin/evil2'])).toThrow('it is in none of the packages');
});

test('an initial file system has the modules with their order, and those inserted later once', () => {
  const module = (name: string) => ({ name, bytes: Buffer.from(name) });
  const spec = { busybox: Buffer.from('bb'), modules: [module('b'), module('a')], init: '#!/bin/sh\n' };
  const image = buildInitramfs({ ...spec, laterModules: [module('a'), module('c')] }).toString('latin1');
  expect(image).toMatch(/modules\/order\0*b\na\n/);
  expect(image).toMatch(/modules\/later\0*c\n/);
  expect(image.match(/modules\/a\.ko/g)).toHaveLength(1);
});
