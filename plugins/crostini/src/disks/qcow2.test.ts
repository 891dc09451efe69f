// Disks as qcow2, which the vmm plugin makes and reads.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import vmm from '@runtime/plugin-vmm';
import { diskImages } from '@runtime/plugin-vmm/contract';
import { createTestRuntime } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { diskRig, filesBelow, OWNER } from './test-rig.ts';

const MIB = 2 ** 20;
const HAS_QEMU = spawnSync('qemu-img', ['--version']).error === undefined;

test('a disk goes out as qcow2 and comes back, as what it was', async () => {
  await using runtime = await createTestRuntime({ plugins: [vmm] });
  await using rig = diskRig({ images: runtime.get(diskImages) });
  const bytes = Buffer.alloc(4 * MIB);
  bytes.write('somewhere', 3 * MIB);
  const { path } = await rig.disks.create({ vm: 'a', bytes: bytes.length, allocation: 'sparse' });
  writeFileSync(path, bytes);
  const to = join(rig.folder, 'a.qcow2');
  const digest = join(rig.folder, 'a.sha256');
  expect(await rig.ended(rig.disks.export({ vm: 'a', to, digest, format: 'qcow2' }))).toMatchObject({ state: 'done' });
  expect(readFileSync(digest, 'latin1')).toMatch(/^[0-9A-F]{64}\n$/);
  if (HAS_QEMU) {
    const compared = spawnSync('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', to, path], { encoding: 'utf8' });
    expect(compared.stdout).toContain('identical');
  }
  const imported = rig.disks.import({ vm: 'b', from: to, format: 'qcow2', type: 'baguette' });
  expect(await rig.ended(imported)).toMatchObject({ state: 'done' });
  const [copy] = await rig.disks.list({ vm: 'b' });
  expect(copy).toMatchObject({ type: 'baguette', bytes: bytes.length });
  expect(readFileSync(copy?.path ?? '').equals(bytes)).toBe(true);
  const raw = rig.disks.import({ vm: 'c', from: path, format: 'raw', type: 'termina' });
  expect(await rig.ended(raw)).toMatchObject({ state: 'done' });
  expect((await rig.disks.list()).map(({ vm }) => vm)).toEqual(['a', 'b', 'c']);
});

test('a qcow2 image that names another file, is too large, or is none, is refused', async () => {
  await using runtime = await createTestRuntime({ plugins: [vmm] });
  await using rig = diskRig({ images: runtime.get(diskImages), maxBytes: 8 * MIB });
  const path = (name: string): string => join(rig.folder, name);
  await runtime.run('vm disk create', { args: [path('base'), '4M'], options: { format: 'raw' } });
  await runtime.run('vm disk create', {
    args: [path('over')],
    options: { format: 'qcow2', backing: path('base'), backingFormat: 'raw' },
  });
  await runtime.run('vm disk create', { args: [path('large'), '16M'], options: { format: 'qcow2' } });
  for (const [name, code] of [
    ['over', 'VMM_ERR_DISK_BACKING'],
    ['large', 'VMM_ERR_DISK_SIZE'],
    ['base', 'VMM_ERR_DISK_FORMAT'],
  ] as const) {
    const job = rig.disks.import({ vm: 'a', from: path(name), format: 'qcow2', type: 'termina' });
    expect(await rig.ended(job)).toMatchObject({ state: 'failed', error: { code } });
  }
  expect(existsSync(join(rig.folder, 'crosvm', OWNER)) && filesBelow(join(rig.folder, 'crosvm', OWNER))).toEqual([]);
});
