// The disk of a VM that runs: made, written to, made larger and smaller under its guest, copied, and started from again.

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Concierge, concierge } from '../../plugins/crostini/src/contract.ts';
import { type DiskJob, type Disks, disks as disksToken } from '../../plugins/crostini/src/contract-disks.ts';
import crostini from '../../plugins/crostini/src/index.ts';
import { openVsh } from '../../plugins/crostini/src/vsh/client.ts';
import vmm from '../../plugins/vmm/src/index.ts';
import { lacking } from '../vm/lab.ts';

const missing = lacking();
const MIN = 60_000;
const GIB = 2 ** 30;
const BTRFS_SUPERBLOCK = { at: 64 * 1024, bytes: 4096 };

describe.skipIf(missing !== undefined)(`Disks${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  let folder: string;
  let runtime: TestRuntime;
  let termina: Concierge;
  let disks: Disks;
  let runtimeDirBefore: string | undefined;

  /** Output of a command in the guest, which has to succeed. */
  const inGuest = async (name: string, command: string): Promise<string> => {
    const { directory } = await termina.endpoint(name);
    using session = await openVsh({ socketPath: join(directory, 'vsock.sock.g9001'), user: 'root', command });
    session.stdin.end();
    const [out, err, code] = await Promise.all([text(session.stdout), text(session.stderr), session.exit]);
    expect([err, code]).toEqual(['', 0]);
    return out.trim();
  };

  const ended = async (job: DiskJob): Promise<DiskJob> => {
    const now = await disks.wait(job.uuid);
    return now.state === 'running' ? await ended(now) : now;
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'td-'));
    runtimeDirBefore = process.env.XDG_RUNTIME_DIR;
    process.env.XDG_RUNTIME_DIR = folder;
    const config = { crostini: { dbus: 'off' } };
    runtime = await createTestRuntime({ plugins: [vmm, crostini], config, stateDirectory: join(folder, 'state') });
    termina = runtime.get(concierge);
    disks = runtime.get(disksToken);
  }, 10 * MIN);

  afterAll(async () => {
    await termina.stopAllVms();
    await runtime[Symbol.asyncDispose]();
    if (runtimeDirBefore === undefined) delete process.env.XDG_RUNTIME_DIR;
    else process.env.XDG_RUNTIME_DIR = runtimeDirBefore;
    rmSync(folder, { recursive: true, force: true });
  }, MIN);

  test(
    'grow and shrink while the VM runs, and what was written is in a copy of them',
    async () => {
      await termina.startVm({ name: 'a', profile: 'full', diskBytes: 2 * GIB });
      const [disk] = await disks.list({ vm: 'a' });
      expect(disk).toMatchObject({ bytes: 2 * GIB, userChosenSize: false });
      expect(disk?.minBytes).toBeGreaterThan(0);
      const path = disk?.path ?? '';
      await inGuest('a', 'echo precious > /mnt/stateful/mine && sync');
      const size = (): Promise<string> =>
        inGuest('a', 'btrfs filesystem usage -b /mnt/stateful | grep -m1 "Device size"');

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
      expect(await inGuest('a', 'cat /mnt/stateful/mine')).toBe('precious');

      await expect(disks.export({ vm: 'a', to: join(folder, 'x') })).rejects.toMatchObject({
        code: 'CROSTINI_ERR_DISK_IN_USE',
      });
      await termina.stopVm('a');
      const to = join(folder, 'a.zst');
      expect(await ended(await disks.export({ vm: 'a', to }))).toMatchObject({ state: 'done' });
      expect(await ended(await disks.import({ vm: 'b', from: to }))).toMatchObject({ state: 'done' });
      await termina.startVm({ name: 'b', profile: 'full' });
      expect(await inGuest('b', 'cat /mnt/stateful/mine')).toBe('precious');
      await termina.stopVm('b');
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
