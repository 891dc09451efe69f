// Archives with an apt that is a script: what is asked of it, and what is made of its answers.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Archive } from './packages.ts';
import { run } from './tool.ts';

const MIRRORS = { archive: ['http://one.example/debian', 'http://two.example/debian'], security: [] };
const SHA = 'a'.repeat(64);

const keyring = existsSync('/usr/share/keyrings/debian-archive-keyring.gpg');
if (!keyring) console.log("skipped: some need Debian's keys (apt-get install debian-archive-keyring)");
const testWithKeyring = test.skipIf(!keyring);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'runtime-packages-'));
  mkdirSync(join(folder, 'bin'));
  vi.stubEnv('PATH', `${join(folder, 'bin')}:/usr/bin:/bin`);
  vi.stubEnv('RUNTIME_CACHE', join(folder, 'cache'));
  put(
    'apt-get',
    `case "$*" in
*update*) echo update >> "$LOG" ;;
*install*) echo "Inst libc6 (2.41-1 Debian:13/stable [amd64])"; echo "Inst socat (1.8-1 Debian:13 [amd64]) []"; echo "Conf socat (1.8-1)" ;;
*download*) for p in "$@"; do case $p in *=*) v=\${p#*=}; echo "$p" > "\${p%%=*}_$(echo "$v" | sed s/:/%3a/)_amd64.deb" ;; esac; done; echo "download" >> "$LOG" ;;
esac`,
  );
  put(
    'apt-cache',
    `for n in "$@"; do case $n in
libc6*) printf 'Package: libc6\\nVersion: 2.41-1\\nSize: 10\\nSHA256: ${SHA}\\n\\n' ;;
socat*) printf 'Package: socat\\nVersion: 1.8-1\\nDepends: libc6 (>= 2), libx | liby\\nSize: 20\\nSHA256: ${SHA.replace('a', 'b')}\\nDescription: x\\n SHA256: no\\n\\n' ;;
epoch*) printf 'Package: epoch\\nVersion: 1:2-3\\nSize: 5\\nSHA256: ${SHA.replace('a', 'c')}\\n' ;;
odd*) printf 'Package: odd\\nVersion: 1\\nSize: 5\\nSHA256: ../../etc\\n' ;;
esac; done`,
  );
  vi.stubEnv('LOG', join(folder, 'log'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

function put(name: string, script: string): void {
  const file = join(folder, 'bin', name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

const log = (): string[] => {
  const file = join(folder, 'log');
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
};

testWithKeyring('a cache that is found by another path, or was moved, says where it lies', async () => {
  const conf = (cache: string): string => {
    const root = join(cache, 'image/apt');
    const [place = ''] = readdirSync(root);
    const [index = ''] = readdirSync(join(root, place));
    return readFileSync(join(root, place, index, 'apt.conf'), 'utf8');
  };
  symlinkSync(join(folder, 'cache'), join(folder, 'link'));
  mkdirSync(join(folder, 'cache'));
  vi.stubEnv('RUNTIME_CACHE', join(folder, 'link'));
  await Archive.open({ mirrors: MIRRORS });
  expect(conf(join(folder, 'cache'))).not.toContain(join(folder, 'link'));
  renameSync(join(folder, 'cache'), join(folder, 'moved'));
  vi.stubEnv('RUNTIME_CACHE', join(folder, 'moved'));
  await Archive.open({ mirrors: MIRRORS });
  expect(conf(join(folder, 'moved'))).not.toContain(join(folder, 'cache'));
  expect(log()).toEqual(['update']);
});

testWithKeyring(
  'packages are resolved, pinned and downloaded once, and a young index is not fetched again',
  async () => {
    const archive = await Archive.open({ mirrors: MIRRORS });
    const packages = await archive.closure(['socat']);
    expect(packages).toEqual([
      { name: 'libc6', version: '2.41-1', sha256: SHA, size: 10 },
      { name: 'socat', version: '1.8-1', sha256: SHA.replace('a', 'b'), size: 20 },
    ]);
    expect(await archive.depends('socat')).toEqual(['libc6', 'libx']);
    const [epoch] = await archive.pick(['epoch']);
    const files = await archive.download([...packages, epoch as NonNullable<typeof epoch>]);
    expect(files.map((file) => readFileSync(file, 'utf8'))).toEqual([
      'libc6=2.41-1\n',
      'socat=1.8-1\n',
      'epoch=1:2-3\n',
    ]);
    expect(await (await Archive.open({ mirrors: MIRRORS })).download(packages)).toEqual(files.slice(0, 2));
    expect(log()).toEqual(['update', 'download']);
    await Archive.open({ mirrors: MIRRORS, refresh: true });
    expect(log()).toEqual(['update', 'download', 'update']);
    await expect(archive.pick(['gone'])).rejects.toMatchObject({ code: 'SDK_ERR_IMAGE_PACKAGE' });
    // Names of files are made of it.
    await expect(archive.pick(['odd'])).rejects.toMatchObject({ code: 'SDK_ERR_IMAGE_PACKAGE' });
  },
);

testWithKeyring(
  'when no mirror can be reached the old index is used, and without one the error says what apt said',
  async () => {
    const working = readFileSync(join(folder, 'bin/apt-get'), 'utf8').replace('#!/bin/sh\n', '');
    put('apt-get', 'echo "E: Could not resolve" >&2; exit 100');
    await expect(Archive.open({ mirrors: MIRRORS })).rejects.toMatchObject({
      code: 'SDK_ERR_IMAGE_PACKAGE',
      message: expect.stringContaining('E: Could not resolve'),
    });
    put('apt-get', working);
    await Archive.open({ mirrors: MIRRORS });
    put('apt-get', 'exit 100');
    const told: string[] = [];
    await Archive.open({ mirrors: MIRRORS, refresh: true, onProgress: ({ what }) => told.push(what) });
    expect(told.at(-1)).toMatch(/^Using the package index of 2/);
  },
);

test('a command that is not installed is told with its package', async () => {
  vi.stubEnv('PATH', join(folder, 'none'));
  // Not one that lies in sbin, which is always looked at.
  await expect(run('lz4', ['-dc'], { what: 'a test' })).rejects.toMatchObject({
    code: 'SDK_ERR_IMAGE_TOOL',
    message: 'lz4 is needed for a test, and is not there',
    remedy: 'Install it: apt-get install lz4',
  });
});

test('a command that writes too much is ended', async () => {
  put('lz4', 'cat /dev/zero');
  await expect(run('lz4', [], { what: 'a test', limit: 100_000 })).rejects.toThrow('it wrote more than 100000 bytes');
});
