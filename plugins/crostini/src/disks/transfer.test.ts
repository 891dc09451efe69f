// Export and import: against the zstd program, a reader of the table of frames, and what a stranger could send.

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { diskRig, filesBelow, OWNER, type Rig } from './test-rig.ts';

const MIB = 2 ** 20;
const FRAME = 128 * 1024;
const HAS_ZSTD = spawnSync('zstd', ['--version']).error === undefined;

/** Bytes that do not compress well, the same each time. */
function noise(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let at = 0; at < length; at += 1) {
    state = (state * 1_103_515_245 + 12_345) & 0x7fff_ffff;
    bytes[at] = state >> 16;
  }
  return bytes;
}

/** A disk with data at its beginning, in the middle of a frame, and at its end. */
async function filledDisk(rig: Rig, vm: string, bytes = 24 * MIB + 4096): Promise<string> {
  const { path } = await rig.disks.create({ vm, bytes, allocation: 'sparse' });
  const fd = openSync(path, 'r+');
  writeSync(fd, noise(300_000), 0, 300_000, 0);
  writeSync(fd, noise(5000, 2), 0, 5000, 10 * MIB + 777);
  writeSync(fd, noise(4096, 3), 0, 4096, bytes - 4096);
  closeSync(fd);
  return path;
}

interface TableEntry {
  readonly offset: number;
  readonly compressed: number;
  readonly decompressed: number;
}

/** Reads the table of a container from its end, as a reader that seeks does. */
function readTable(path: string): readonly TableEntry[] {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const footer = Buffer.alloc(9);
    readSync(fd, footer, 0, 9, size - 9);
    expect(footer.readUInt32LE(5)).toBe(0x8f92_eab1);
    expect(footer[4]).toBe(0);
    const frames = footer.readUInt32LE(0);
    const table = Buffer.alloc(8 + frames * 8 + 9);
    readSync(fd, table, 0, table.length, size - table.length);
    expect(table.readUInt32LE(0)).toBe(0x184d_2a5e);
    expect(table.readUInt32LE(4)).toBe(table.length - 8);
    let offset = 0;
    const entries = Array.from({ length: frames }, (_, index) => {
      const compressed = table.readUInt32LE(8 + index * 8);
      const entry = { offset, compressed, decompressed: table.readUInt32LE(12 + index * 8) };
      offset += compressed;
      return entry;
    });
    expect(offset).toBe(size - table.length);
    return entries;
  } finally {
    closeSync(fd);
  }
}

test('what is exported is what zstd makes the disk of again, and any byte of it is found by the table', async () => {
  await using rig = diskRig();
  const disk = await filledDisk(rig, 'a');
  const file = join(rig.folder, 'a.zst');
  const digest = join(rig.folder, 'a.sha256');
  expect(await rig.ended(rig.disks.export({ vm: 'a', to: file, digest }))).toMatchObject({
    state: 'done',
    percent: 100,
  });
  const container = readFileSync(file);
  const bytes = readFileSync(disk);
  expect(readFileSync(digest, 'latin1')).toBe(
    `${createHash('sha256').update(container).digest('hex').toUpperCase()}\n`,
  );

  const entries = readTable(file);
  expect(entries).toHaveLength(Math.ceil(bytes.length / FRAME) + 1);
  const metadata = entries.at(-1) as TableEntry;
  expect(metadata).toMatchObject({ compressed: 47, decompressed: 0 });
  expect(container.subarray(metadata.offset, metadata.offset + 47).toString('latin1')).toBe(
    `\x55\x2a\x4d\x18\x27\0\0\0CROSVMEXPMETA\0user.crostini.vm_type\x000\0\0`.padEnd(47, '\0'),
  );
  for (const index of [0, 2, 80, entries.length - 2]) {
    const { offset, compressed, decompressed } = entries[index] as TableEntry;
    const frame = zstdDecompressSync(container.subarray(offset, offset + compressed));
    expect(frame.length).toBe(decompressed);
    expect(frame.equals(bytes.subarray(index * FRAME, index * FRAME + decompressed))).toBe(true);
  }
  if (HAS_ZSTD) expect(execFileSync('zstd', ['-dc', file], { maxBuffer: 64 * MIB }).equals(bytes)).toBe(true);
  expect(filesBelow(rig.folder)).toEqual([
    'a.sha256',
    'a.zst',
    `crosvm/${OWNER}/YQ==.img`,
    `crosvm/${OWNER}/YQ==.json`,
  ]);
});

test('what was exported is imported, with its type and its holes', async () => {
  await using rig = diskRig();
  const disk = await filledDisk(rig, 'a');
  const file = join(rig.folder, 'a.zst');
  await rig.ended(rig.disks.export({ vm: 'a', to: file }));
  expect(await rig.ended(rig.disks.import({ vm: 'b', from: file }))).toMatchObject({ state: 'done' });
  const [copy] = await rig.disks.list({ vm: 'b' });
  expect(copy).toMatchObject({ type: 'termina', userChosenSize: true });
  expect(readFileSync(copy?.path ?? '').equals(readFileSync(disk))).toBe(true);
  expect(copy?.allocatedBytes).toBeLessThan(2 * MIB);
  await expect(rig.disks.import({ vm: 'b', from: file })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_EXISTS' });
  expect(await rig.ended(rig.disks.import({ vm: 'c', from: file, type: 'baguette' }))).toMatchObject({
    state: 'failed',
    error: { code: 'CROSTINI_ERR_DISK_TYPE' },
  });
  expect(await rig.disks.list({ vm: 'c' })).toEqual([]);
});

test('descriptors are written and read from where they stand, and pipes too', async () => {
  await using rig = diskRig();
  const disk = await filledDisk(rig, 'a');
  const file = join(rig.folder, 'out');
  const fd = openSync(file, 'w+');
  const exported = rig.disks.export({ vm: 'a', to: { fd } });
  await exported;
  closeSync(fd);
  expect(await rig.ended(exported)).toMatchObject({ state: 'done' });
  expect(zstdDecompressSync(readFileSync(file).subarray(0, readTable(file)[0]?.compressed)).length).toBe(FRAME);

  const before = readdirSync('/proc/self/fd').length;
  const fifo = join(rig.folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const pipe = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
  const importing = await rig.disks.import({ vm: 'b', from: { fd: pipe } });
  const container = readFileSync(file);
  for (let at = 0; at < container.length; ) {
    try {
      at += writeSync(pipe, container, at, container.length - at);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
  // Its end never comes, so the job has to be ended, though it waits for more.
  await rig.disks.cancel(importing.uuid);
  closeSync(pipe);
  expect(await rig.disks.status(importing.uuid)).toMatchObject({ state: 'cancelled' });
  expect(readdirSync('/proc/self/fd').length).toBe(before);
  expect(await rig.disks.list({ vm: 'b' })).toEqual([]);
  expect(statSync(disk).size).toBe(24 * MIB + 4096);
});

test('what the zstd program makes, of one frame with a checksum, is imported as well', async (context) => {
  if (!HAS_ZSTD) return context.skip();
  await using rig = diskRig();
  const raw = Buffer.concat([noise(3 * MIB), Buffer.alloc(5 * MIB), noise(1000)]);
  writeFileSync(join(rig.folder, 'raw'), raw);
  execFileSync('zstd', ['-q', '--check', join(rig.folder, 'raw')]);
  const from = join(rig.folder, 'raw.zst');
  expect(await rig.ended(rig.disks.import({ vm: 'a', from }))).toMatchObject({
    error: { code: 'CROSTINI_ERR_DISK_TYPE' },
  });
  expect(await rig.ended(rig.disks.import({ vm: 'a', from, type: 'termina' }))).toMatchObject({ state: 'done' });
  const [disk] = await rig.disks.list();
  const bytes = readFileSync(disk?.path ?? '');
  expect(bytes.length).toBe(Math.ceil(raw.length / 4096) * 4096);
  expect(bytes.subarray(0, raw.length).equals(raw)).toBe(true);
});

test('one that becomes larger than allowed is stopped there', async () => {
  await using rig = diskRig({ maxBytes: 64 * MIB });
  const bomb = join(rig.folder, 'bomb');
  const frame = zstdCompressSync(Buffer.alloc(8 * MIB));
  writeFileSync(bomb, Buffer.concat(Array.from({ length: 10_000 }, () => frame)));
  expect(await rig.ended(rig.disks.import({ vm: 'a', from: bomb, type: 'termina' }))).toMatchObject({
    state: 'failed',
    error: { code: 'CROSTINI_ERR_DISK_SIZE' },
  });
  expect(filesBelow(rig.folder)).toEqual(['bomb']);
});

test('what is no container is refused, and nothing is left', async () => {
  await using rig = diskRig();
  const file = join(rig.folder, 'file');
  writeFileSync(file, Buffer.concat([zstdCompressSync(noise(2 * MIB)), Buffer.from('junk')]));
  expect(await rig.ended(rig.disks.import({ vm: 'a', from: file, type: 'termina' }))).toMatchObject({
    state: 'failed',
    error: { code: 'CROSTINI_ERR_DISK_IMAGE' },
  });
  expect(filesBelow(rig.folder)).toEqual(['file']);
});

test('an export that is cancelled leaves nothing, and the disk can be used again', async () => {
  await using rig = diskRig();
  const { path } = await rig.disks.create({ vm: 'a', bytes: 64 * MIB, allocation: 'sparse' });
  writeFileSync(path, noise(64 * MIB));
  const to = join(rig.folder, 'a.zst');
  const job = await rig.disks.export({ vm: 'a', to });
  await expect(rig.disks.export({ vm: 'a', to })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_OP_IN_PROGRESS' });
  await expect(rig.disks.destroy({ vm: 'a' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_OP_IN_PROGRESS' });
  expect(await rig.disks.busy({ vm: 'a' })).toBe(true);
  await rig.disks.cancel(job.uuid);
  expect(await rig.disks.status(job.uuid)).toMatchObject({ state: 'cancelled' });
  expect(rig.told.at(-1)).toMatchObject({ uuid: job.uuid, state: 'cancelled' });
  expect(await rig.disks.busy({ vm: 'a' })).toBe(false);
  expect(filesBelow(rig.folder)).toEqual([`crosvm/${OWNER}/YQ==.img`, `crosvm/${OWNER}/YQ==.json`]);
});

test('an export to a reader that does not read can be ended', async () => {
  await using rig = diskRig();
  const { path } = await rig.disks.create({ vm: 'a', bytes: 4 * MIB, allocation: 'sparse' });
  writeFileSync(path, noise(4 * MIB));
  const fifo = join(rig.folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  const pipe = openSync(fifo, constants.O_RDWR);
  const job = await rig.disks.export({ vm: 'a', to: { fd: pipe } });
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await rig.disks.status(job.uuid)).toMatchObject({ state: 'running' });
  await rig.disks.cancel(job.uuid);
  closeSync(pipe);
  expect(await rig.disks.status(job.uuid)).toMatchObject({ state: 'cancelled' });
});

test('so many go on at once, and no more', async () => {
  await using rig = diskRig({ maxJobs: 2 });
  for (const vm of ['a', 'b', 'c']) {
    const { path } = await rig.disks.create({ vm, bytes: 16 * MIB, allocation: 'sparse' });
    writeFileSync(path, noise(16 * MIB));
  }
  const to = (vm: string): string => join(rig.folder, vm);
  const [a, b] = [rig.disks.export({ vm: 'a', to: to('a') }), rig.disks.export({ vm: 'b', to: to('b') })];
  await Promise.all([a, b]);
  await expect(rig.disks.export({ vm: 'c', to: to('c') })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_BUSY' });
  expect(await Promise.all([rig.ended(a), rig.ended(b)])).toMatchObject([{ state: 'done' }, { state: 'done' }]);
  expect(await rig.ended(rig.disks.export({ vm: 'c', to: to('c') }))).toMatchObject({ state: 'done' });
});

test('a file that is there is not replaced unasked', async () => {
  await using rig = diskRig();
  await filledDisk(rig, 'a', 2 * MIB);
  const to = join(rig.folder, 'mine');
  writeFileSync(to, 'precious');
  await expect(rig.disks.export({ vm: 'a', to })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_FILE' });
  expect(readFileSync(to, 'utf8')).toBe('precious');
  expect(await rig.ended(rig.disks.export({ vm: 'a', to, overwrite: true }))).toMatchObject({ state: 'done' });
  expect(statSync(to).size).toBeGreaterThan(8);
  await expect(
    rig.disks.export({ vm: 'a', to: '/no/such/folder/x' }).then((job) => rig.disks.wait(job.uuid)),
  ).resolves.toMatchObject({
    state: 'failed',
    error: { code: 'CROSTINI_ERR_DISK_FILE' },
  });
  await expect(rig.disks.export({ vm: 'a', to: `${to}2`, digest: `${to}2` })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_FILE',
  });
  const long = 'ü'.repeat(100);
  const pair = { to: join(rig.folder, long), digest: join(rig.folder, `${long}.sum`) };
  expect(await rig.ended(rig.disks.export({ vm: 'a', ...pair }))).toMatchObject({ state: 'done' });
  await expect(rig.disks.export({ vm: 'none', to: `${to}2` })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_NOT_FOUND',
  });
});

test('holes take no time: 64 GiB of them are exported at once', async () => {
  await using rig = diskRig();
  const { path } = await rig.disks.create({ vm: 'a', bytes: 2 ** 36, allocation: 'sparse' });
  const fd = openSync(path, 'r+');
  writeSync(fd, noise(4096), 0, 4096, 2 ** 35);
  ftruncateSync(fd, 2 ** 36);
  closeSync(fd);
  const to = join(rig.folder, 'a.zst');
  const began = performance.now();
  expect(await rig.ended(rig.disks.export({ vm: 'a', to }))).toMatchObject({ state: 'done' });
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(readTable(to)).toHaveLength(2 ** 19 + 1);
  expect(existsSync(to)).toBe(true);
});
