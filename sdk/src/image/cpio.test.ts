import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { type CpioEntry, writeCpio } from './cpio.ts';

const entries: Record<string, CpioEntry> = {
  '/init': { content: '#!/bin/sh\n', mode: 0o755 },
  'usr/bin/busybox': { content: new Uint8Array([1, 2, 3, 4, 5]), mode: 0o755 },
  bin: { link: 'usr/bin' },
  'dev/console': { device: { kind: 'char', major: 5, minor: 1 } },
  'dev/vda': { device: { kind: 'block', major: 254, minor: 0 }, mode: 0o660 },
  tmp: { mode: 0o1777 },
  'etc/empty': { content: '' },
};

/** An independent reader, after the description in the kernel's documentation. */
function read(archive: Buffer): Record<string, { mode: number; body: string; rdev: string; fields: number[] }> {
  const out: Record<string, { mode: number; body: string; rdev: string; fields: number[] }> = {};
  for (let at = 0; ; ) {
    expect(archive.toString('latin1', at, at + 6)).toBe('070701');
    expect(at % 4).toBe(0);
    const fields = Array.from({ length: 13 }, (_, i) =>
      Number.parseInt(archive.toString('latin1', at + 6 + i * 8, at + 14 + i * 8), 16),
    );
    const [, mode = 0, , , , , size = 0, , , major, minor, nameSize = 0] = fields;
    const name = archive.toString('utf8', at + 110, at + 110 + nameSize - 1);
    const start = Math.ceil((at + 110 + nameSize) / 4) * 4;
    if (name === 'TRAILER!!!') return out;
    out[name] = { mode, body: archive.toString('latin1', start, start + size), rdev: `${major}:${minor}`, fields };
    at = Math.ceil((start + size) / 4) * 4;
  }
}

test('an archive holds what was put into it, with the folders above', () => {
  const found = read(writeCpio(entries));
  expect(Object.keys(found)).toEqual([
    ...['bin', 'dev', 'dev/console', 'dev/vda', 'etc', 'etc/empty', 'init', 'tmp', 'usr', 'usr/bin'],
    'usr/bin/busybox',
  ]);
  expect(found.init).toMatchObject({ mode: 0o100755, body: '#!/bin/sh\n' });
  expect(found['usr/bin/busybox']).toMatchObject({ mode: 0o100755, body: '\x01\x02\x03\x04\x05' });
  expect(found.bin).toMatchObject({ mode: 0o120777, body: 'usr/bin' });
  expect(found['dev/console']).toMatchObject({ mode: 0o020600, rdev: '5:1' });
  expect(found['dev/vda']).toMatchObject({ mode: 0o060660, rdev: '254:0' });
  expect(found.tmp).toMatchObject({ mode: 0o041777 });
  expect(found.usr).toMatchObject({ mode: 0o040755 });
});

test('the same entries in another order give the same bytes', () => {
  const turned = Object.fromEntries(Object.entries(entries).reverse());
  expect(writeCpio(turned).equals(writeCpio(entries))).toBe(true);
});

test('cpio(1) lists it alike', (context) => {
  const listed = spawnSync('cpio', ['-itv', '--quiet', '--numeric-uid-gid'], { input: writeCpio(entries) });
  if (listed.error !== undefined) {
    console.log('skipped: cpio is not installed (apt-get install cpio)');
    return context.skip();
  }
  const lines = listed.stdout.toString().trim().split('\n');
  const short = lines.map((line) => line.replace(/\s+/g, ' ').replace(/ Jan 1 (00:00 )?1970/, ''));
  expect(short.map((line) => line.replace(/^(\S+) \d+ 0 0 /, '$1 '))).toEqual([
    'lrwxrwxrwx 7 bin -> usr/bin',
    'drwxr-xr-x 0 dev',
    'crw------- 5, 1 dev/console',
    'brw-rw---- 254, 0 dev/vda',
    'drwxr-xr-x 0 etc',
    '-rw-r--r-- 0 etc/empty',
    '-rwxr-xr-x 10 init',
    'drwxrwxrwt 0 tmp',
    'drwxr-xr-x 0 usr',
    'drwxr-xr-x 0 usr/bin',
    '-rwxr-xr-x 5 usr/bin/busybox',
  ]);
});

test.each(['', '/', 'a/../b', './a', 'a\0b', 'x'.repeat(4096)])('path %j is refused', (path) => {
  expect(() => writeCpio({ [path]: { content: 'x' } })).toThrow(/VMM_ERR|is not what it should be/);
});
