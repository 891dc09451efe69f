// Termina from a snapshot: as quick as it is, as much a machine of its own as one that has booted.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageCache } from '@runtime/sdk/image';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vms } from '../../plugins/vmm/src/contract.ts';
import { lacking } from '../vm/lab.ts';
import { TerminaRig } from './rig.ts';

const missing = lacking();
const MIN = 60_000;

describe.skipIf(missing !== undefined)(`snapshots${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  const rig = new TerminaRig({ snapshots: 'on' });
  let cache: string;
  let cacheBefore: string | undefined;

  /** Images are the user's own, snapshots are not. */
  beforeAll(async () => {
    cache = mkdtempSync(join(tmpdir(), 'sc-'));
    mkdirSync(join(cache, 'image'));
    mkdirSync(imageCache(), { recursive: true });
    for (const name of readdirSync(imageCache())) {
      if (name !== 'snapshots') symlinkSync(join(imageCache(), name), join(cache, 'image', name));
    }
    cacheBefore = process.env.RUNTIME_CACHE;
    process.env.RUNTIME_CACHE = cache;
    await rig.open();
  }, 10 * MIN);

  afterAll(async () => {
    await rig.close();
    if (cacheBefore === undefined) delete process.env.RUNTIME_CACHE;
    else process.env.RUNTIME_CACHE = cacheBefore;
    rmSync(cache, { recursive: true, force: true });
  }, MIN);

  const snapshots = (): readonly string[] => readdirSync(join(cache, 'image/snapshots'));
  const start = async (name: string, profile: 'fast' | 'full' = 'fast'): Promise<number> => {
    const before = performance.now();
    await rig.termina.startVm({ name, profile, diskBytes: 2 ** 30 });
    return Math.round(performance.now() - before);
  };
  const wasRestored = async (name: string): Promise<boolean> =>
    (await rig.runtime.get(vms).inspect(`t-${name}`)).params.includes('maitred.template');

  test(
    'two VMs from one have nothing in common that they should not',
    async () => {
      const first = await start('one');
      const second = await start('two');
      console.log(`with the snapshot made first ${first} ms, then ${second} ms`);
      expect(await wasRestored('one')).toBe(true);
      const own = async (name: string): Promise<readonly string[]> =>
        Promise.all(
          [
            'cat /proc/sys/kernel/random/boot_id',
            'head -c 16 /dev/urandom | od -An -tx1',
            'cat /sys/class/net/eth0/address',
            'ip -4 -brief address show eth0',
          ].map((command) => rig.inGuest(name, command)),
        );
      const [one, two] = [await own('one'), await own('two')];
      for (const [at, value] of one.entries()) expect(value).not.toBe(two[at]);
      const [cidOne, cidTwo] = (await rig.termina.listVms()).map(({ cid }) => cid);
      expect(cidOne).not.toBe(cidTwo);
      for (const name of ['one', 'two']) {
        expect(Math.abs(Number(await rig.inGuest(name, 'date +%s')) - Date.now() / 1_000)).toBeLessThan(30);
      }
      // It is found again, and ends as others do.
      await rig.restart();
      expect(await rig.inGuest('two', 'echo still here')).toBe('still here');
      await rig.termina.stopVm('one');
      await rig.termina.stopVm('two');
      expect(rig.runtime.inspect().leases).toEqual([]);
      const [machine] = (await rig.runtime.get(vms).list()).filter(({ name }) => name === 't-two');
      expect(machine?.state).toBe('stopped');
    },
    8 * MIN,
  );

  test(
    'a damaged one is removed, and its VM boots',
    async () => {
      for (const key of snapshots()) {
        const folder = join(cache, 'image/snapshots', key, 'state');
        for (const file of readdirSync(folder)) truncateSync(join(folder, file), 1_000);
      }
      await start('three');
      expect(await wasRestored('three')).toBe(false);
      expect(await rig.inGuest('three', 'echo here')).toBe('here');
      await rig.termina.stopVm('three');
    },
    8 * MIN,
  );

  test(
    'of the full image finds its disk',
    async () => {
      await start('disk', 'full');
      expect(await wasRestored('disk')).toBe(true);
      expect(await rig.inGuest('disk', 'grep /mnt/stateful /proc/mounts')).toMatch(/^\/dev\/vdb \/mnt\/stateful /);
      await rig.inGuest('disk', 'echo kept > /mnt/stateful/note');
      await rig.termina.stopVm('disk');
      await start('disk', 'full');
      expect(await rig.inGuest('disk', 'cat /mnt/stateful/note')).toBe('kept');
      await rig.termina.stopVm('disk');
    },
    8 * MIN,
  );
});
