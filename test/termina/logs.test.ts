// What VMs log: from the first line of the kernel on, what their programs write, what crashes, and all of it after the end.

import { recordEvents } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { callMaitred } from '../../plugins/crostini/src/concierge/maitred.ts';
import { lacking } from '../vm/lab.ts';
import { TerminaRig } from './rig.ts';

const missing = lacking();
const MIN = 60_000;

/** A program of two instructions: xor %eax,%eax; mov %eax,(%rax). */
const CRASHING =
  'f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAAAAAAAAAAAEAAAAAAAAAA' +
  'QAAAAAAAfAAAAAAAAAB8AAAAAAAAAAAQAAAAAAAAMcCJAA==';

describe.skipIf(missing !== undefined)(`logs${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  const rig = new TerminaRig();
  beforeAll(() => rig.open(), 10 * MIN);
  afterAll(() => rig.close(), MIN);

  const logs = async (options: Readonly<Record<string, unknown>> = {}): Promise<string> =>
    (await rig.runtime.run('logs', { args: ['foo'], options })).out.join('\n');

  test(
    'a VM is heard as long as it runs, and can be read when it has ended',
    async () => {
      using heard = recordEvents(rig.runtime, 'termina:crash');
      await rig.termina.startVm({ name: 'foo', profile: 'fast' });
      const { directory } = await rig.termina.endpoint('foo');
      await vi.waitFor(async () => expect(await logs({ source: ['kernel'] })).toContain('Linux version'), {
        ...{ timeout: MIN, interval: 500 },
      });
      await vi.waitFor(async () => expect(await logs({ source: ['user'] })).toContain('maitred: serving'), {
        ...{ timeout: MIN, interval: 500 },
      });

      using maitred = callMaitred(directory);
      const script = 'echo from a program; echo "and its \u001b[31merrors" >&2; sleep 1';
      await maitred.call.LaunchProcess({ argv: ['/bin/sh', '-c', script], respawn: true });
      await vi.waitFor(async () => expect(await logs()).toContain('sh: and its \\x1b[31merrors'), {
        ...{ timeout: MIN, interval: 500 },
      });
      await vi.waitFor(() => expect(heard.events.length).toBeGreaterThan(0), { timeout: MIN, interval: 500 });
      expect(heard.events[0]?.data).toMatchObject({ vm: 'foo', process: 'sh' });

      await rig.exec('foo', `echo ${CRASHING} | base64 -d > /run/bad; chmod +x /run/bad; /run/bad`);
      await vi.waitFor(async () => expect(await logs({ source: ['crash'] })).toContain('bad crashed (pid'), {
        ...{ timeout: MIN, interval: 500 },
      });

      await rig.restart();
      await rig.inGuest('foo', 'echo "<3>said under the next runtime" > /dev/kmsg');
      await vi.waitFor(async () => expect(await logs({ since: '1m' })).toContain('said under the next runtime'), {
        ...{ timeout: MIN, interval: 500 },
      });
      const [info] = (await rig.runtime.run('info', { args: ['foo'] })).data as { crashes: { what: string }[] }[];
      expect(info?.crashes[0]?.what).toBe('sh ended, and is to run always');

      const following = rig.runtime.run('logs', { args: ['foo'], options: { follow: true, lines: 1 } });
      await rig.inGuest('foo', 'echo "<3>the last one" > /dev/kmsg; sleep 2');
      await rig.termina.stopVm('foo');
      const followed = (await following).out.join('\n');
      expect(followed).toContain('the last one');
      expect(followed).toContain('maitred: the machine is being shut down');
      expect(await logs({ lines: 3 })).toMatch(/^(\S+ +\S+ +.*\n?){3}$/);
      await rig.runtime.run('delete', { args: ['foo'], options: { yes: true } });
      await expect(logs()).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_NOT_FOUND' });
    },
    8 * MIN,
  );
});
