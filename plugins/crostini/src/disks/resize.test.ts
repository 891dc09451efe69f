// Disks change their size, of VMs that run and of others.

import { closeSync, ftruncateSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { lockRange } from '@runtime/sdk/linux';
import { expect, test } from 'vitest';
import type { RunningDisk } from './guest-filesystem.ts';
import { diskRig, OWNER, type Rig } from './test-rig.ts';

const MIB = 2 ** 20;

/** A VM with a file system as large as its disk; what is done with both, in order. */
class FakeVm {
  readonly done: string[] = [];
  fs: number;
  minBytes = 2 * MIB;
  /** The guest says that it has done more than it has. */
  lies = false;
  fails: 'filesystem' | 'device' | undefined;
  #polls = 0;
  #target = 0;
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
    this.fs = statSync(path).size;
  }

  readonly running: RunningDisk = {
    machine: 'vm-a',
    device: 'block1',
    filesystem: {
      resize: async (bytes) => {
        if (this.fails === 'filesystem') throw new Error('no room');
        if (bytes > statSync(this.#path).size) throw new Error('beyond the disk');
        this.done.push(`filesystem ${bytes / MIB}`);
        this.#target = bytes;
        this.#polls = 0;
      },
      status: async () => {
        this.#polls += 1;
        if (this.#polls > 1 && !this.lies) this.fs = this.#target;
        return { inProgress: this.#polls <= 1, currentBytes: this.fs, targetBytes: this.#target };
      },
      bounds: async () => ({ minBytes: this.minBytes }),
    },
  };

  readonly requestDevice = async (machine: string, device: string, method: string, params: unknown): Promise<void> => {
    const { capacity, shrink = false } = params as { readonly capacity: number; readonly shrink?: boolean };
    if (this.fails === 'device') throw new Error('the device is gone');
    expect([machine, device, method]).toEqual(['vm-a', 'block1', 'resize']);
    if (capacity < statSync(this.#path).size) expect(shrink).toBe(true);
    this.done.push(`disk ${capacity / MIB}`);
    truncateSync(this.#path, capacity);
  };
}

async function runningRig(): Promise<{ readonly rig: Rig; readonly vm: FakeVm; readonly path: string }> {
  let vm: FakeVm | undefined;
  const rig = diskRig({
    running: async () => vm?.running,
    requestDevice: async (...args) => await vm?.requestDevice(...args),
  });
  const { path } = await rig.disks.create({ vm: 'a', bytes: 8 * MIB, allocation: 'sparse' });
  vm = new FakeVm(path);
  return { rig, vm, path };
}

test('of a VM that runs: first the disk grows, then its file system', async () => {
  const { rig, vm, path } = await runningRig();
  await using _ = rig;
  expect(await rig.ended(rig.disks.resize({ vm: 'a', bytes: 32 * MIB }))).toMatchObject({ state: 'done' });
  expect(vm.done).toEqual(['disk 32', 'filesystem 32']);
  expect(statSync(path).size).toBe(32 * MIB);
});

test('of a VM that runs: first the file system shrinks, then the disk', async () => {
  const { rig, vm, path } = await runningRig();
  await using _ = rig;
  expect(await rig.ended(rig.disks.resize({ vm: 'a', bytes: 4 * MIB }))).toMatchObject({ state: 'done' });
  expect(vm.done).toEqual(['filesystem 4', 'disk 4']);
  expect(statSync(path).size).toBe(4 * MIB);
});

test.each<[string, (vm: FakeVm) => void, number, readonly string[]]>([
  ['needs more', (vm) => Object.assign(vm, { minBytes: 6 * MIB }), 4, []],
  ['did not shrink, whatever the guest said', (vm) => Object.assign(vm, { lies: true }), 4, ['filesystem 4']],
  ['cannot shrink', (vm) => Object.assign(vm, { fails: 'filesystem' }), 4, []],
])('a disk whose file system %s is not cut', async (_what, prepare, mib, done) => {
  const { rig, vm, path } = await runningRig();
  await using _ = rig;
  prepare(vm);
  const error = { code: 'CROSTINI_ERR_DISK_RESIZE' };
  expect(await rig.ended(rig.disks.resize({ vm: 'a', bytes: mib * MIB }))).toMatchObject({ state: 'failed', error });
  expect(vm.done).toEqual(done);
  expect(statSync(path).size).toBe(8 * MIB);
});

test('a disk whose file system has shrunk, and which did not, can be cut when its VM has stopped', async () => {
  const { rig, vm, path } = await runningRig();
  await using _ = rig;
  vm.fails = 'device';
  expect(await rig.ended(rig.disks.resize({ vm: 'a', bytes: 4 * MIB }))).toMatchObject({ state: 'failed' });
  expect(statSync(path).size).toBe(8 * MIB);

  await using stopped = diskRig({}, rig.folder);
  await expect(stopped.disks.resize({ vm: 'a', bytes: 2 * MIB })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_RESIZE',
  });
  expect(await stopped.ended(stopped.disks.resize({ vm: 'a', bytes: 4 * MIB }))).toMatchObject({ state: 'done' });
  expect(statSync(path).size).toBe(4 * MIB);
});

test('what was known of a file system is forgotten when its VM starts', async () => {
  const { rig, vm } = await runningRig();
  await using _ = rig;
  vm.fails = 'device';
  await rig.ended(rig.disks.resize({ vm: 'a', bytes: 4 * MIB }));
  await rig.disks.ensureStateful({ vm: 'a' });
  await using stopped = diskRig({}, rig.folder);
  await expect(stopped.disks.resize({ vm: 'a', bytes: 4 * MIB })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_RESIZE',
  });
});

test('of a VM that does not run: it grows, allocated when it was, and is not cut', async () => {
  await using rig = diskRig();
  const { path: sparse } = await rig.disks.create({ vm: 'a', bytes: 4 * MIB, allocation: 'sparse' });
  const { path: chosen } = await rig.disks.create({ vm: 'b', bytes: 4 * MIB });
  for (const vm of ['a', 'b'])
    expect(await rig.ended(rig.disks.resize({ vm, bytes: 16 * MIB + 1 }))).toMatchObject({ state: 'done' });
  for (const path of [sparse, chosen]) expect(statSync(path).size).toBe(16 * MIB + 4096);
  expect(statSync(sparse).blocks * 512).toBeLessThan(MIB);
  expect(statSync(chosen).blocks * 512).toBeGreaterThanOrEqual(16 * MIB);
  await expect(rig.disks.resize({ vm: 'a', bytes: 4 * MIB })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_RESIZE',
  });
  await expect(rig.disks.resize({ vm: 'none', bytes: 4 * MIB })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_DISK_NOT_FOUND',
  });
  expect(readFileSync(join(rig.folder, 'crosvm', OWNER, 'YQ==.json'), 'utf8')).toContain('"userChosenSize":false');
});

test('a disk that a device still has is left alone', async () => {
  await using rig = diskRig();
  const { path } = await rig.disks.create({ vm: 'a', bytes: 4 * MIB, allocation: 'sparse' });
  const fd = openSync(path, 'r+');
  expect(lockRange(fd, 'write')).toBe(true);
  const inUse = { state: 'failed', error: { code: 'CROSTINI_ERR_DISK_IN_USE' } };
  expect(await rig.ended(rig.disks.resize({ vm: 'a', bytes: 8 * MIB }))).toMatchObject(inUse);
  expect(await rig.ended(rig.disks.export({ vm: 'a', to: join(rig.folder, 'x') }))).toMatchObject(inUse);
  expect(await rig.ended(rig.disks.export({ vm: 'a', to: join(rig.folder, 'x'), force: true }))).toMatchObject({
    state: 'done',
  });
  ftruncateSync(fd, 4 * MIB);
  closeSync(fd);
});

test('a resize cannot be cancelled', async () => {
  const { rig, vm } = await runningRig();
  await using _ = rig;
  const job = await rig.disks.resize({ vm: 'a', bytes: 4 * MIB });
  await expect(rig.disks.cancel(job.uuid)).rejects.toMatchObject({ code: 'CROSTINI_ERR_DISK_JOB_LASTS' });
  expect(await rig.disks.wait(job.uuid)).toMatchObject({ state: 'done' });
  expect(vm.fs).toBe(4 * MIB);
});
