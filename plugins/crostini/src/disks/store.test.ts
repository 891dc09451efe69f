// Disks are made, looked at and removed.

import { chmodSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { diskRig, filesBelow, NO_IMAGES, OWNER } from './test-rig.ts';

const MIB = 2 ** 20;

test('a disk is made once, and lies where concierge would have it', async () => {
  await using rig = diskRig();
  const path = join(rig.folder, 'crosvm', OWNER, 'dGVybWluYQ==.img');
  const request = { vm: 'termina', bytes: 10 * MIB + 1, allocation: 'sparse' } as const;
  expect(await rig.disks.create(request)).toEqual({ status: 'created', path, bytes: 10 * MIB + 4096 });
  expect(await rig.disks.create(request)).toMatchObject({ status: 'exists', path, bytes: 10 * MIB + 4096 });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(statSync(join(rig.folder, 'crosvm', OWNER)).mode & 0o777).toBe(0o700);
  expect(await rig.disks.list()).toEqual([
    expect.objectContaining({ vm: 'termina', owner: OWNER, type: 'termina', bytes: 10 * MIB + 4096, path }),
  ]);
  const again = await rig.again();
  expect(await again.disks.list({ vm: 'termina' })).toMatchObject([{ userChosenSize: false, minBytes: undefined }]);
  await again.disks.destroy({ vm: 'termina' });
  expect(filesBelow(rig.folder)).toEqual([]);
  await expect(again.disks.destroy({ vm: 'termina' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_NOT_FOUND' });
});

test('a size that somebody chose is allocated, any other is not', async () => {
  await using rig = diskRig({ maxBytes: 2 ** 31 });
  await rig.disks.create({ vm: 'chosen', bytes: 4 * MIB, type: 'baguette' });
  await rig.disks.create({ vm: 'any' });
  const [any, chosen] = await rig.disks.list();
  expect(any).toMatchObject({ vm: 'any', userChosenSize: false, type: 'termina' });
  expect(any?.bytes).toBeGreaterThanOrEqual(2 ** 30);
  expect((any?.bytes ?? 1) % 4096).toBe(0);
  expect(any?.allocatedBytes).toBeLessThan(MIB);
  expect(chosen).toMatchObject({ userChosenSize: true, type: 'baguette', bytes: 4 * MIB });
  expect(chosen?.allocatedBytes).toBeGreaterThanOrEqual(4 * MIB);
});

test.each([
  [1, 'CROSTINI_ERR_DISK_SIZE'],
  [-1, 'CROSTINI_ERR_DISK_SIZE'],
  [1.5 * MIB + 0.5, 'CROSTINI_ERR_DISK_SIZE'],
  [Number.NaN, 'CROSTINI_ERR_DISK_SIZE'],
  [2 ** 60, 'CROSTINI_ERR_DISK_SIZE'],
  [2 ** 43, 'CROSTINI_ERR_DISK_SPACE'],
])('a disk of %d bytes is refused', async (bytes, code) => {
  await using rig = diskRig();
  await expect(rig.disks.create({ vm: 'a', bytes, allocation: 'preallocate' })).rejects.toMatchObject({ code });
  expect(filesBelow(rig.folder)).toEqual([]);
});

test('owners have disks of their own', async () => {
  await using rig = diskRig();
  await rig.disks.create({ vm: 'a', bytes: MIB });
  expect(await rig.disks.list({ owner: 'ff' })).toEqual([]);
  await expect(rig.disks.list({ owner: '../..' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_OWNER' });
  await expect(rig.disks.create({ owner: 'ff', vm: '' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_NAME' });
});

test('a link in place of a folder or an image is not followed', async () => {
  await using rig = diskRig();
  const elsewhere = join(rig.folder, 'elsewhere');
  mkdirSync(elsewhere);
  symlinkSync(elsewhere, join(rig.folder, 'crosvm', 'ff'));
  await expect(rig.disks.create({ owner: 'ff', vm: 'a', bytes: MIB })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_STORE',
  });
  expect(await rig.disks.list({ owner: 'ff' })).toEqual([]);
  const { path } = await rig.disks.create({ vm: 'a', bytes: MIB });
  rmSync(path);
  symlinkSync('/etc/passwd', path);
  expect(await rig.disks.list()).toEqual([]);
  await expect(rig.disks.destroy({ vm: 'a' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_STORE' });
});

test('folders that others could enter are closed again', async () => {
  await using rig = diskRig();
  await rig.disks.create({ vm: 'a', bytes: MIB });
  const folder = join(rig.folder, 'crosvm', OWNER);
  chmodSync(folder, 0o777);
  await rig.disks.create({ vm: 'b', bytes: MIB });
  expect(statSync(folder).mode & 0o777).toBe(0o700);
});

test('what is not finished is swept, and nothing else', async () => {
  await using rig = diskRig();
  const { path } = await rig.disks.create({ vm: 'a', bytes: MIB });
  const folder = join(rig.folder, 'crosvm', OWNER);
  mkdirSync(join(folder, 'Yg==.img.tmp'));
  writeFileSync(join(folder, 'Yg==.img.tmp', 'disk'), 'half');
  writeFileSync(join(folder, 'Yw==.json'), '{}');
  writeFileSync(join(folder, 'YQ==.json.new'), '{}');
  writeFileSync(join(folder, 'of-somebody'), 'else');
  await rig.again();
  expect(filesBelow(folder)).toEqual(['YQ==.img', 'YQ==.json', 'of-somebody']);
  expect(existsSync(path)).toBe(true);
});

test('damaged facts say nothing, and the disk is still there', async () => {
  await using rig = diskRig();
  await rig.disks.create({ vm: 'a', bytes: MIB });
  writeFileSync(join(rig.folder, 'crosvm', OWNER, 'YQ==.json'), '{"type":"arcvm"');
  expect(await rig.disks.list()).toMatchObject([{ vm: 'a', type: undefined, userChosenSize: false }]);
});

test('the disk of a VM that runs is not removed', async () => {
  const filesystem = {
    resize: () => Promise.resolve(),
    status: () => Promise.reject(new Error()),
    bounds: () => Promise.resolve({ minBytes: 123 }),
  };
  let runs = false;
  await using rig = diskRig({
    images: NO_IMAGES,
    running: () => Promise.resolve(runs ? { machine: 'm', device: 'block1', filesystem } : undefined),
  });
  await rig.disks.create({ vm: 'a', bytes: MIB });
  runs = true;
  await expect(rig.disks.destroy({ vm: 'a' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_IN_USE' });
  expect(await rig.disks.list()).toMatchObject([{ minBytes: 123 }]);
});

test('a VM that is about to start gets a sparse disk, once', async () => {
  await using rig = diskRig();
  expect(await rig.disks.ensureStateful({ vm: 'a', bytes: 8 * MIB })).toMatchObject({
    ...{ created: true, sparse: true, bytes: 8 * MIB },
  });
  expect(await rig.disks.ensureStateful({ vm: 'a', bytes: 16 * MIB })).toMatchObject({
    ...{ created: false, sparse: true, bytes: 8 * MIB },
  });
});
