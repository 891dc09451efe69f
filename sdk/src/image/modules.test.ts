import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { collectModules, loadOrder, parseModinfo, withoutSignature } from './modules.ts';
import { makeModule, spoiled } from './test-elf.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'runtime-modules-'));
  mkdirSync(join(folder, 'kernel'));
  writeFileSync(join(folder, 'modules.builtin'), 'kernel/drivers/virtio/virtio.ko\nkernel/fs/fuse/fuse-core.ko\n');
});
afterEach(() => rmSync(folder, { recursive: true }));

function put(path: string, bytes: Buffer): void {
  const file = join(folder, 'kernel', path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
}

test('a module says what it needs, by any spelling', () => {
  const info = parseModinfo(
    makeModule('license=GPL', 'depends=a-b,c', 'softdep=pre: crc32c aes-x post: late', 'name=x'),
  );
  expect(info).toEqual({ depends: ['a_b', 'c'], before: ['crc32c', 'aes_x'] });
  expect(parseModinfo(makeModule('depends=', 'softdep=post: x'))).toEqual({ depends: [], before: [] });
  expect(parseModinfo(Buffer.from('no module'))).toBeUndefined();
});

test('each comes after what it needs, once, and in the order that was asked for', async () => {
  put('net/failover.ko', makeModule('depends='));
  put('net/net-failover.ko.gz', gzipSync(makeModule('depends=failover')));
  put('net/virtio_net.ko.zst', zstdCompressSync(makeModule('depends=net_failover,virtio')));
  put('fs/ext4.ko', makeModule('depends=jbd2', 'softdep=pre: crc32c built-in'));
  put('fs/jbd2.ko', makeModule('depends='));
  put('crypto/crc32c_generic.ko', makeModule('depends='));
  const modules = await collectModules({ folder, release: '1' }, ['ext4', 'virtio-net', 'failover', 'fuse_core']);
  expect(modules.map(({ name }) => name)).toEqual([
    'crc32c_generic',
    'jbd2',
    'ext4',
    'failover',
    'net_failover',
    'virtio_net',
  ]);
  expect(parseModinfo(modules[4]?.bytes as Buffer)?.depends).toEqual(['failover']);
});

test('a module that the kernel has not is told with who needs it', async () => {
  put('a.ko', makeModule('depends=gone'));
  await expect(collectModules({ folder, release: '6.1' }, ['a'])).rejects.toMatchObject({
    code: 'SDK_ERR_IMAGE_MODULE',
    message: 'kernel 6.1 has no module gone, which a needs',
  });
  await expect(collectModules({ folder, release: '6.1' }, ['b'])).rejects.toThrow(
    'which this initial file system needs',
  );
});

test('needs that go round in a circle, or on for ever, end', async () => {
  const circle: Record<string, string[]> = { a: ['b'], b: ['c'], c: ['a'] };
  const infoOf = async (name: string) => ({ depends: circle[name] ?? [], before: [] });
  expect(await loadOrder(['a'], infoOf)).toEqual(['c', 'b', 'a']);
  let n = 0;
  const endless = async () => ({ depends: [`m${n++}`], before: [] });
  expect((await loadOrder(['a'], endless)).length).toBeLessThanOrEqual(4096);
});

test('a signature is taken off, and only a sound one', () => {
  const module = makeModule('depends=');
  const signature = Buffer.alloc(100, 1);
  const trailer = Buffer.alloc(12);
  trailer.writeUInt32BE(signature.length, 8);
  const magic = Buffer.from('~Module signature appended~\n');
  expect(withoutSignature(Buffer.concat([module, signature, trailer, magic])).equals(module)).toBe(true);
  expect(withoutSignature(module)).toBe(module);
  expect(withoutSignature(magic)).toBe(magic);
  trailer.writeUInt32BE(0xffffffff, 8);
  const lying = Buffer.concat([module, trailer, magic]);
  expect(withoutSignature(lying)).toBe(lying);
});

test('10,000 spoiled modules are survived', () => {
  for (const bytes of spoiled(makeModule('depends=a,b', 'softdep=pre: c'), 10_000)) {
    parseModinfo(bytes);
    withoutSignature(bytes);
  }
});
