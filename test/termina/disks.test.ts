// The disk of a VM that runs: made, written to, made larger and smaller under its guest, copied, and started from again.

import { statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DiskJob, type Disks, disks as disksToken } from '../../plugins/crostini/src/contract-disks.ts';
import { lacking } from '../vm/lab.ts';
import { TerminaRig } from './rig.ts';

const missing = lacking();
const MIN = 60_000;
const GIB = 2 ** 30;
const BTRFS_SUPERBLOCK = { at: 64 * 1024, bytes: 4096 };

describe.skipIf(missing !== undefined)(`Disks${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  const rig = new TerminaRig();
  let disks: Disks;

  beforeAll(async () => {
    await rig.open();
    disks = rig.runtime.get(disksToken);
  }, 10 * MIN);
  afterAll(() => rig.close(), MIN);

  const ended = async (job: DiskJob): Promise<DiskJob> => {
    const now = await disks.wait(job.uuid);
    return now.state === 'running' ? await ended(now) : now;
  };

  test(
    'grow and shrink while the VM runs, and what was written is in a copy of them',
    async () => {
      await rig.termina.startVm({ name: 'a', profile: 'full', diskBytes: 2 * GIB });
      const [disk] = await disks.list({ vm: 'a' });
      expect(disk).toMatchObject({ bytes: 2 * GIB, userChosenSize: false });
      expect(disk?.minBytes).toBeGreaterThan(0);
      const path = disk?.path ?? '';
      await rig.inGuest('a', 'echo precious > /mnt/stateful/mine && sync');
      const size = (): Promise<string> =>
        rig.inGuest('a', 'btrfs filesystem usage -b /mnt/stateful | grep -m1 "Device size"');

      expect(await ended(await disks.resize({ vm: 'a', bytes: 3 * GIB }))).toMatchObject({
        state: 'done',
        error: undefined,
      });
      expect(statSync(path).size).toBe(3 * GIB);
      expect(await size()).toContain(String(3 * GIB));

      expect(await ended(await disks.resize({ vm: 'a', bytes: GIB }))).toMatchObject({
        state: 'done',
        error: undefined,
      });
      expect(statSync(path).size).toBe(GIB);
      expect(await size()).toContain(String(GIB));
      expect(await rig.inGuest('a', 'cat /mnt/stateful/mine')).toBe('precious');

      await expect(disks.export({ vm: 'a', to: join(rig.folder, 'x') })).rejects.toMatchObject({
        code: 'CROSTINI_ERR_DISK_IN_USE',
      });
      await rig.termina.stopVm('a');
      const to = join(rig.folder, 'a.zst');
      expect(await ended(await disks.export({ vm: 'a', to }))).toMatchObject({ state: 'done' });
      expect(await ended(await disks.import({ vm: 'b', from: to }))).toMatchObject({ state: 'done' });
      await rig.termina.startVm({ name: 'b', profile: 'full' });
      expect(await rig.inGuest('b', 'cat /mnt/stateful/mine')).toBe('precious');
      await rig.termina.stopVm('b');
    },
    10 * MIN,
  );

  test('are made with a file system of their own, which takes little', async () => {
    const superblocks = ['x', 'y'].map(async (vm) => {
      const { path } = await disks.create({ vm, bytes: 8 * GIB, allocation: 'sparse' });
      expect(statSync(path).blocks * 512).toBeLessThan(8 * 2 ** 20);
      const file = await open(path);
      const { buffer } = await file.read(
        Buffer.alloc(BTRFS_SUPERBLOCK.bytes),
        0,
        BTRFS_SUPERBLOCK.bytes,
        BTRFS_SUPERBLOCK.at,
      );
      await file.close();
      return buffer;
    });
    const [x, y] = (await Promise.all(superblocks)) as [Buffer, Buffer];
    // struct btrfs_super_block of the kernel: fsid, magic, total_bytes.
    expect(x.toString('latin1', 64, 72)).toBe('_BHRfS_M');
    expect(x.readBigUInt64LE(112)).toBe(BigInt(8 * GIB));
    expect(x.subarray(32, 48).equals(y.subarray(32, 48))).toBe(false);
  });
});
