import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { imageFile } from '../image-file.ts';
import type { ChainEntry } from '../layers.ts';
import { ImmediateIo, SyncDisk } from '../sync-disk.ts';
import { qemuImg } from '../test-rig.ts';
import { checkDisk, diskInfo } from '../tool.ts';
import { createQcow2 } from './create.ts';

const EIO = 5;
const ENOSPC = 28;
const EOPNOTSUPP = 95;

let folder: string;
let path: string;
let fd: number;
let chain: ChainEntry[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'qcow2-store-'));
  path = join(folder, 'a.qcow2');
  fd = openSync(path, 'w+');
  createQcow2(imageFile(fd, path), { size: 2 ** 22 });
  chain = [{ fd, format: 'qcow2', name: path }];
});

afterEach(() => {
  for (const entry of chain) closeSync(entry.fd);
  rmSync(folder, { recursive: true, force: true });
});

const block = (byte: number, length = 4096): Uint8Array => new Uint8Array(length).fill(byte);

function read(disk: SyncDisk, offset: number, length = 4096): Uint8Array {
  const target = new Uint8Array(length);
  disk.read(target, offset);
  return target;
}

/** fdatasync and fallocate give what the test says. */
class FailingIo extends ImmediateIo {
  sync = 0;
  zero = 0;
  override fdatasync(file: number, token: number): void {
    if (this.sync === 0) super.fdatasync(file, token);
    else this.ends(token, this.sync);
  }
  override fallocate(file: number, mode: number, offset: number, length: number, token: number): void {
    if (this.zero === 0) super.fallocate(file, mode, offset, length, token);
    else this.ends(token, this.zero);
  }
}

test('after a sync has failed nothing is written any more, and nothing is said to be safe', () => {
  const io = new FailingIo();
  const warnings: string[] = [];
  using disk = new SyncDisk(chain, { readonly: false, io, warn: (message) => void warnings.push(message) });
  disk.write(block(1), 0);
  io.sync = -EIO;
  expect(() => disk.flush()).toThrow(expect.objectContaining({ details: { image: path, verb: 'synced', errno: EIO } }));
  io.sync = 0;
  for (const refused of [() => disk.flush(), () => disk.write(block(2), 0), () => disk.discard(0, 2 ** 20)])
    expect(refused).toThrow(expect.objectContaining({ code: 'VMM_ERR_DISK_IO' }));
  expect(read(disk, 0)).toEqual(block(1));
  disk.settle();
  expect(warnings).toHaveLength(1);
  // The next one that opens the image looks at it first.
  expect(diskInfo(path, { format: 'qcow2' }).dirty).toBe(true);
});

test('a full file system fails the write that needs space, and the next one is tried anew', () => {
  let full = false;
  const open = (file: number, name: string) => {
    const inner = imageFile(file, name);
    return {
      ...inner,
      truncate: (size: number) => {
        if (full) throw Object.assign(new Error('full'), { errno: -ENOSPC });
        inner.truncate(size);
      },
    };
  };
  using disk = new SyncDisk(chain, { readonly: false, open });
  full = true;
  expect(() => disk.write(block(1), 0)).toThrow(
    expect.objectContaining({ details: { image: path, verb: 'written', errno: ENOSPC } }),
  );
  expect(read(disk, 0)).toEqual(block(0));
  full = false;
  disk.write(block(1), 0);
  expect(read(disk, 0)).toEqual(block(1));
  disk.settle();
  expect(checkDisk(path)).toMatchObject({ corruptions: 0, leaks: 0 });
});

test('zeroes are written where the file system has no other means', () => {
  const io = new FailingIo();
  io.zero = -EOPNOTSUPP;
  using disk = new SyncDisk(chain, { readonly: false, io });
  disk.write(block(7, 2 ** 20), 0);
  disk.writeZeroes(512, 200_192, false);
  expect(read(disk, 512, 200_192).every((byte) => byte === 0)).toBe(true);
  expect(read(disk, 0, 512)).toEqual(block(7, 512));
  expect(read(disk, 200_704, 512)).toEqual(block(7, 512));
});

test('what is discarded is given back to the file system after the next sync', () => {
  using disk = new SyncDisk(chain, { readonly: false });
  disk.write(block(7, 2 ** 21), 0);
  disk.flush();
  const before = statSync(path).blocks;
  disk.discard(0, 2 ** 21);
  disk.flush();
  disk.flush();
  expect(statSync(path).blocks).toBeLessThan(before - 2 ** 20 / 512);
  disk.settle();
  expect(checkDisk(path)).toEqual({ leaks: 0, corruptions: 0, allocated: 0, repaired: false });
});

test('a disk that is rewritten again and again does not grow', () => {
  using disk = new SyncDisk(chain, { readonly: false });
  for (let round = 0; round < 12; round += 1) {
    disk.write(block(round, 2 ** 21), 0);
    disk.writeZeroes(0, 2 ** 21);
    disk.flush();
  }
  disk.settle();
  expect(statSync(path).size).toBeLessThan(16 * 2 ** 20);
  qemuImg('check', path);
});

test('writing to a cluster keeps what the backing file has beside it', () => {
  closeSync(fd);
  writeFileSync(join(folder, 'base.raw'), block(9, 2 ** 20));
  fd = openSync(path, 'w+');
  createQcow2(imageFile(fd, path), { size: 2 ** 22, backing: { file: 'base.raw', format: 'raw' } });
  chain = [
    { fd, format: 'qcow2', name: path },
    { fd: openSync(join(folder, 'base.raw'), 'r'), format: 'raw', name: 'base' },
  ];
  using disk = new SyncDisk(chain, { readonly: false });
  disk.write(block(1), 8192);
  expect(read(disk, 0, 8192)).toEqual(block(9, 8192));
  expect(read(disk, 8192)).toEqual(block(1));
  expect(read(disk, 12_288)).toEqual(block(9));
  // Zeroes hide the backing file; beyond its end there is nothing to hide.
  disk.writeZeroes(0, 2 ** 22);
  expect(read(disk, 0, 2 ** 22).every((byte) => byte === 0)).toBe(true);
  disk.settle();
  expect(checkDisk(path).allocated).toBe(2 ** 20 / 65_536);
});
