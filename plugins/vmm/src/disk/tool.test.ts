import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRuntimeError } from '@runtime/core';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { openChain } from './chain.ts';
import { convertDisk } from './convert.ts';
import { imageFile } from './image-file.ts';
import { readHeader } from './qcow2/header.ts';
import { SyncDisk } from './sync-disk.ts';
import { qemuImg } from './test-rig.ts';
import { checkDisk, createDisk, diskInfo, resizeDisk } from './tool.ts';

const root = mkdtempSync(join(tmpdir(), 'disk-tool-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(root, 't-'));
});
const at = (name: string): string => join(folder, name);

function codeOf(fn: () => unknown): unknown {
  try {
    fn();
  } catch (e) {
    return isRuntimeError(e) ? e.code : e;
  }
  return undefined;
}

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff);
}

/** Two stretches of data in a sparse file. */
function sparseRaw(path: string, size: number): void {
  const fd = openSync(path, 'w+');
  writeSync(fd, pattern(100_000), 0, 100_000, 1_000_000);
  writeSync(fd, pattern(5000), 0, 5000, size - 5000);
  closeSync(fd);
}

test('a new qcow2 image is what qemu-img takes for one, in every geometry', () => {
  for (const clusterSize of [512, 4096, 65_536, 2 ** 21]) {
    const path = at(`c${clusterSize}.qcow2`);
    createDisk({ path, format: 'qcow2', size: 2 ** 30 + 512, clusterSize });
    expect(JSON.parse(qemuImg('info', '--output=json', path))).toMatchObject({
      format: 'qcow2',
      'virtual-size': 2 ** 30 + 512,
      'cluster-size': clusterSize,
      'format-specific': { data: { compat: '1.1', 'refcount-bits': 16, corrupt: false } },
    });
    qemuImg('check', path);
  }
});

test('a new raw image takes no space, and nothing is overwritten', () => {
  createDisk({ path: at('a.img'), format: 'raw', size: 2 ** 30 });
  expect(statSync(at('a.img'))).toMatchObject({ size: 2 ** 30, blocks: 0 });
  expect(codeOf(() => createDisk({ path: at('a.img'), format: 'raw', size: 512 }))).toBe('VMM_ERR_DISK_OPEN');
  expect(codeOf(() => createDisk({ path: at('b.img'), format: 'raw', size: 513 }))).toBe('VMM_ERR_DISK_SIZE');
  expect(codeOf(() => createDisk({ path: at('b.img'), format: 'qcow2', size: 2 ** 50, clusterSize: 512 }))).toBe(
    'VMM_ERR_DISK_SIZE',
  );
  expect(codeOf(() => statSync(at('b.img')))).toMatchObject({ code: 'ENOENT' });
});

test('an overlay has the size of what it lies on, and names it as seen from its own folder', () => {
  createDisk({ path: at('base.qcow2'), format: 'qcow2', size: 2 ** 20 });
  createDisk({ path: at('top.qcow2'), format: 'qcow2', backing: { path: at('base.qcow2'), format: 'qcow2' } });
  expect(diskInfo(at('top.qcow2'), { format: 'qcow2' })).toMatchObject({
    virtualSize: 2 ** 20,
    clusterSize: 65_536,
    dirty: false,
    backing: { path: at('base.qcow2'), format: 'qcow2', virtualSize: 2 ** 20 },
  });
  const known = JSON.parse(qemuImg('info', '--output=json', at('top.qcow2')));
  expect(known).toMatchObject({ 'backing-filename-format': 'qcow2', 'full-backing-filename': at('base.qcow2') });
});

test('chains that cannot be trusted are refused', () => {
  createDisk({ path: at('base.qcow2'), format: 'qcow2', size: 2 ** 20 });
  const open = (name: string) =>
    codeOf(() => openChain(at(name), { format: 'qcow2', readonly: true })[Symbol.dispose]());
  const rebase = (name: string, ...rest: string[]): void => {
    qemuImg('create', '-q', '-f', 'qcow2', at(name), '1M');
    qemuImg('rebase', '-u', '-f', 'qcow2', ...rest, at(name));
  };
  rebase('nbd.qcow2', '-b', 'nbd://somewhere/disk', '-F', 'raw');
  expect(open('nbd.qcow2')).toBe('VMM_ERR_DISK_BACKING');
  rebase('vmdk.qcow2', '-b', 'base.qcow2', '-F', 'vmdk');
  expect(open('vmdk.qcow2')).toBe('VMM_ERR_DISK_BACKING');
  rebase('self.qcow2', '-b', 'self.qcow2', '-F', 'qcow2');
  expect(open('self.qcow2')).toBe('VMM_ERR_DISK_BACKING');
  symlinkSync(at('loop.qcow2'), at('link.qcow2'));
  rebase('loop.qcow2', '-b', 'link.qcow2', '-F', 'qcow2');
  expect(open('loop.qcow2')).toBe('VMM_ERR_DISK_BACKING');
  rebase('gone.qcow2', '-b', 'gone-base.qcow2', '-F', 'qcow2');
  expect(open('gone.qcow2')).toBe('VMM_ERR_DISK_OPEN');
  rebase('folder.qcow2', '-b', '.', '-F', 'raw');
  expect(open('folder.qcow2')).toBe('VMM_ERR_DISK_OPEN');

  // qemu-img does not make an image any more that leaves out the format; the extension is taken away by hand.
  rebase('unnamed.qcow2', '-b', 'base.qcow2', '-F', 'qcow2');
  const bytes = readFileSync(at('unnamed.qcow2'));
  bytes.writeUInt32BE(0x11111111, bytes.indexOf(Buffer.from('e2792aca', 'hex')));
  writeFileSync(at('unnamed.qcow2'), bytes);
  expect(open('unnamed.qcow2')).toBe('VMM_ERR_DISK_BACKING');

  for (let level = 0; level < 12; level += 1)
    rebase(`deep${level}.qcow2`, '-b', level === 0 ? 'base.qcow2' : `deep${level - 1}.qcow2`, '-F', 'qcow2');
  expect(open('deep8.qcow2')).toBeUndefined();
  expect(open('deep9.qcow2')).toBe('VMM_ERR_DISK_BACKING');
});

test('an image that is in use is left alone', () => {
  createDisk({ path: at('a.qcow2'), format: 'qcow2', size: 2 ** 20 });
  using _chain = openChain(at('a.qcow2'), { format: 'qcow2', readonly: false });
  expect(codeOf(() => openChain(at('a.qcow2'), { format: 'qcow2', readonly: true }))).toBe('VMM_ERR_DISK_IN_USE');
  expect(() => qemuImg('check', at('a.qcow2'))).toThrow(/lock/);
  expect(diskInfo(at('a.qcow2'), { format: 'qcow2' }).virtualSize).toBe(2 ** 20);
});

test.each([512, 65_536, 2 ** 21])('raw to qcow2 and back, sparse, with clusters of %i', (clusterSize) => {
  const size = 40 * 2 ** 20;
  sparseRaw(at('a.raw'), size);
  convertDisk({
    from: { path: at('a.raw'), format: 'raw' },
    to: { path: at('a.qcow2'), format: 'qcow2', clusterSize },
  });
  qemuImg('check', at('a.qcow2'));
  qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('a.raw'), at('a.qcow2'));
  expect(statSync(at('a.qcow2')).blocks * 512).toBeLessThan(8 * 2 ** 20);
  convertDisk({ from: { path: at('a.qcow2'), format: 'qcow2' }, to: { path: at('b.raw'), format: 'raw' } });
  expect(Buffer.compare(readFileSync(at('a.raw')), readFileSync(at('b.raw')))).toBe(0);
  expect(statSync(at('b.raw')).blocks * 512).toBeLessThan(2 ** 20);
  convertDisk({ from: { path: at('a.qcow2'), format: 'qcow2' }, to: { path: at('c.qcow2'), format: 'qcow2' } });
  qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('a.raw'), at('c.qcow2'));
});

test('disks become larger, and smaller when told to', async () => {
  sparseRaw(at('a.raw'), 2 ** 21);
  for (const clusterSize of [512, 65_536]) {
    const path = at(`${clusterSize}.qcow2`);
    convertDisk({ from: { path: at('a.raw'), format: 'raw' }, to: { path, format: 'qcow2', clusterSize } });
    await resizeDisk(path, { format: 'qcow2', size: 2 ** 31 });
    qemuImg('check', path);
    qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('a.raw'), path);
    await expect(resizeDisk(path, { format: 'qcow2', size: 2 ** 20 + 512 })).rejects.toMatchObject({
      code: 'VMM_ERR_DISK_RESIZE',
    });
    await resizeDisk(path, { format: 'qcow2', size: 2 ** 20 + 512, shrink: true });
    await resizeDisk(path, { format: 'qcow2', size: 2 ** 21 });
    qemuImg('check', path);
    const cut = readFileSync(at('a.raw'));
    cut.fill(0, 2 ** 20 + 512);
    writeFileSync(at('cut.raw'), cut);
    qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('cut.raw'), path);
  }
  await resizeDisk(at('a.raw'), { format: 'raw', size: 2 ** 22 });
  expect(statSync(at('a.raw')).size).toBe(2 ** 22);
});

test('what a larger backing file holds beyond the end does not show when the overlay grows', async () => {
  writeFileSync(at('base.raw'), pattern(2 ** 20));
  createDisk({
    path: at('top.qcow2'),
    format: 'qcow2',
    size: 2 ** 19 + 512,
    backing: { path: at('base.raw'), format: 'raw' },
  });
  await resizeDisk(at('top.qcow2'), { format: 'qcow2', size: 2 ** 21 });
  const flat = Buffer.alloc(2 ** 21);
  flat.set(pattern(2 ** 20).subarray(0, 2 ** 19 + 512));
  writeFileSync(at('flat.raw'), flat);
  qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('flat.raw'), at('top.qcow2'));
  qemuImg('check', at('top.qcow2'));
});

test('images of QEMU are read right or refused with a code', () => {
  const bytes = pattern(3 * 2 ** 20 + 1536);
  bytes.fill(0, 500_000, 900_000);
  writeFileSync(at('a.raw'), bytes);
  const kinds: Readonly<Record<string, readonly string[]>> = {
    v2: ['-o', 'compat=0.10'],
    lazy: ['-o', 'lazy_refcounts=on'],
    zlib: ['-c'],
    small: ['-c', '-o', 'cluster_size=512'],
    large: ['-c', '-o', 'cluster_size=2M'],
    zstd: ['-c', '-o', 'compression_type=zstd'],
    metadata: ['-o', 'preallocation=metadata'],
    full: ['-o', 'preallocation=full,refcount_bits=1'],
    wide: ['-o', 'refcount_bits=64'],
    bitmap: [],
  };
  for (const [kind, options] of Object.entries(kinds)) {
    const path = at(`${kind}.qcow2`);
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...options, at('a.raw'), path);
    if (kind === 'bitmap') qemuImg('bitmap', '--add', '-f', 'qcow2', path, 'b0');
    {
      using chain = openChain(path, { format: 'qcow2', readonly: true });
      using disk = new SyncDisk(chain.entries, { readonly: true });
      const read = new Uint8Array(disk.size);
      disk.read(read, 0);
      expect(Buffer.compare(read, bytes), kind).toBe(0);
      expect(codeOf(() => disk.write(new Uint8Array(512), 0))).toBe('VMM_ERR_DISK_IO');
    }
    {
      using chain = openChain(path, { format: 'qcow2', readonly: false });
      using disk = new SyncDisk(chain.entries, { readonly: false });
      disk.write(bytes.subarray(0, 70_144), 1_000_448);
      disk.settle();
    }
    const copy = bytes.slice();
    copy.set(bytes.subarray(0, 70_144), 1_000_448);
    writeFileSync(at('b.raw'), copy);
    qemuImg('compare', '-f', 'raw', '-F', 'qcow2', at('b.raw'), path);
  }
  // The bitmap is not kept up to date, and says so; what it takes is lost until somebody repairs.
  for (const kind of Object.keys(kinds)) if (kind !== 'bitmap') qemuImg('check', at(`${kind}.qcow2`));

  qemuImg('create', '-q', '-f', 'qcow2', '-o', 'extended_l2=on,cluster_size=64k', at('e.qcow2'), '1M');
  expect(codeOf(() => openChain(at('e.qcow2'), { format: 'qcow2', readonly: true }))).toBe('VMM_ERR_DISK_FEATURE');
  qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${at('e.data')}`, at('d.qcow2'), '1M');
  expect(codeOf(() => openChain(at('d.qcow2'), { format: 'qcow2', readonly: true }))).toBe('VMM_ERR_DISK_FEATURE');
});

test('an image with snapshots is read, and not written to', () => {
  createDisk({ path: at('a.qcow2'), format: 'qcow2', size: 2 ** 20 });
  qemuImg('snapshot', '-c', 'first', at('a.qcow2'));
  {
    using chain = openChain(at('a.qcow2'), { format: 'qcow2', readonly: false });
    expect(codeOf(() => new SyncDisk(chain.entries, { readonly: false }))).toBe('VMM_ERR_DISK_SNAPSHOTS');
  }
  expect(diskInfo(at('a.qcow2'), { format: 'qcow2' }).snapshots).toBe(1);
  expect(codeOf(() => checkDisk(at('a.qcow2')))).toBe('VMM_ERR_DISK_SNAPSHOTS');
});

test('an image that was not closed is put in order when it is next opened', () => {
  createDisk({ path: at('a.qcow2'), format: 'qcow2', size: 2 ** 24 });
  {
    using chain = openChain(at('a.qcow2'), { format: 'qcow2', readonly: false });
    using disk = new SyncDisk(chain.entries, { readonly: false });
    disk.write(pattern(200_192), 512);
    // The process ends here.
  }
  expect(diskInfo(at('a.qcow2'), { format: 'qcow2' }).dirty).toBe(true);
  const { leaks, corruptions, allocated } = checkDisk(at('a.qcow2'));
  expect({ corruptions, allocated }).toEqual({ corruptions: 0, allocated: 4 });
  expect(leaks).toBeGreaterThan(0);
  {
    const warnings: string[] = [];
    using chain = openChain(at('a.qcow2'), { format: 'qcow2', readonly: false });
    using disk = new SyncDisk(chain.entries, { readonly: false, warn: (message) => void warnings.push(message) });
    expect(warnings).toHaveLength(1);
    disk.settle();
  }
  expect(checkDisk(at('a.qcow2'))).toEqual({ leaks: 0, corruptions: 0, allocated: 4, repaired: false });
  qemuImg('check', at('a.qcow2'));
  const fd = openSync(at('a.qcow2'), 'r');
  expect(readHeader(imageFile(fd, 'a')).incompatible).toBe(0n);
  closeSync(fd);
});

test('reference counts that are too low are repaired', () => {
  createDisk({ path: at('a.qcow2'), format: 'qcow2', size: 2 ** 20 });
  const bytes = readFileSync(at('a.qcow2'));
  // The first block of counts is the third cluster; the L1 table is the fourth.
  bytes.writeUInt16BE(0, 2 * 65_536 + 3 * 2);
  writeFileSync(at('a.qcow2'), bytes);
  expect(checkDisk(at('a.qcow2'))).toMatchObject({ corruptions: 1, leaks: 0 });
  expect(checkDisk(at('a.qcow2'), { repair: true })).toMatchObject({ repaired: true });
  qemuImg('check', at('a.qcow2'));
  // The whole block is gone: a new one is made at the end.
  bytes.writeBigUInt64BE(0n, 65_536);
  writeFileSync(at('a.qcow2'), bytes);
  expect(checkDisk(at('a.qcow2'), { repair: true })).toMatchObject({ repaired: true });
  qemuImg('check', at('a.qcow2'));
});
