// Termina as its users have it: started, told its network, used, stopped, and found again by the next runtime.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { recordEvents } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vms } from '../../plugins/vmm/src/contract.ts';
import { lacking } from '../vm/lab.ts';
import { TerminaRig } from './rig.ts';

const missing = lacking();
const MIN = 60_000;

describe.skipIf(missing !== undefined)(`Termina${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  const rig = new TerminaRig();
  beforeAll(() => rig.open(), 10 * MIN);
  afterAll(() => rig.close(), MIN);

  test(
    'of the fast image starts, knows its network and the time, outlives the runtime, and stops',
    async () => {
      using heard = recordEvents(rig.runtime, 'termina:*');
      const vm = await rig.termina.startVm({ name: 'foo', profile: 'fast' });
      expect(vm).toMatchObject({ name: 'foo', state: 'running', ipv4: '100.115.92.26' });
      expect(heard.events.map(({ topic }) => topic)).toEqual(['termina:starting', 'termina:started']);

      const addresses = await rig.inGuest('foo', 'ip -4 -brief address show; ip route');
      expect(addresses).toContain('100.115.92.26/30');
      expect(addresses).toContain('default via 100.115.92.25');
      expect(await rig.inGuest('foo', 'cat /etc/resolv.conf')).toContain('nameserver 100.115.92.3');
      const seconds = await rig.inGuest('foo', 'date +%s');
      expect(Math.abs(Number(seconds) - Date.now() / 1_000)).toBeLessThan(30);
      expect((await rig.exec('foo', 'exit 7')).code).toBe(7);

      await rig.restart();
      expect(await rig.termina.getVm('foo')).toEqual(vm);
      expect(await rig.inGuest('foo', 'echo still here')).toBe('still here');

      await rig.termina.suspendVm('foo');
      await rig.termina.resumeVm('foo');
      expect(await rig.inGuest('foo', 'echo awake')).toBe('awake');

      await rig.termina.stopVm('foo');
      expect(await rig.termina.listVms()).toEqual([]);
      const [machine] = await rig.runtime.get(vms).list();
      expect(machine).toMatchObject({ name: 't-foo', state: 'stopped' });
      expect(rig.runtime.inspect().leases).toEqual([]);
      const left = readdirSync(join(rig.folder, 'state'), { recursive: true }).map(String);
      expect(left.filter((name) => name.includes('vm%2F') && !name.startsWith('logs/'))).toEqual([]);
    },
    8 * MIN,
  );

  test(
    'of the full image keeps what is on its disk',
    async () => {
      await rig.termina.startVm({ name: 'bar', profile: 'full', diskBytes: 2 ** 30 });
      const mounts = await rig.inGuest('bar', 'grep /mnt/stateful /proc/mounts');
      expect(mounts).toMatch(/^\/dev\/vdb \/mnt\/stateful btrfs rw/);
      await rig.inGuest('bar', 'echo kept > /mnt/stateful/note');
      await rig.termina.stopVm('bar');
      await rig.termina.startVm({ name: 'bar', profile: 'full' });
      expect(await rig.inGuest('bar', 'cat /mnt/stateful/note')).toBe('kept');
      await rig.termina.stopVm('bar');
    },
    8 * MIN,
  );
});
