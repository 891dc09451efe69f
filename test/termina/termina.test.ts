// Termina as its users have it: started, told its network, used, stopped, and found again by the next runtime.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { createTestRuntime, recordEvents, type TestRuntime } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Concierge, concierge } from '../../plugins/crostini/src/contract.ts';
import crostini from '../../plugins/crostini/src/index.ts';
import { openVsh } from '../../plugins/crostini/src/vsh/client.ts';
import { vms } from '../../plugins/vmm/src/contract.ts';
import vmm from '../../plugins/vmm/src/index.ts';
import { lacking } from '../vm/lab.ts';

const missing = lacking();
const MIN = 60_000;

describe.skipIf(missing !== undefined)(`Termina${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  let folder: string;
  let runtime: TestRuntime;
  let termina: Concierge;
  let runtimeDirBefore: string | undefined;

  const open = async (): Promise<void> => {
    const config = { crostini: { dbus: 'off' } };
    runtime = await createTestRuntime({ plugins: [vmm, crostini], config, stateDirectory: join(folder, 'state') });
    termina = runtime.get(concierge);
  };

  /** Of the guest's output, and its exit code. */
  const inGuest = async (name: string, command: string): Promise<readonly [string, number]> => {
    const { directory } = await termina.endpoint(name);
    using session = await openVsh({ socketPath: join(directory, 'vsock.sock.g9001'), user: 'root', command });
    session.stdin.end();
    const [out, err, code] = await Promise.all([text(session.stdout), text(session.stderr), session.exit]);
    return [(out + err).trim(), code];
  };

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tt-'));
    runtimeDirBefore = process.env.XDG_RUNTIME_DIR;
    process.env.XDG_RUNTIME_DIR = folder;
    await open();
  }, 10 * MIN);

  afterAll(async () => {
    await termina.stopAllVms();
    await runtime[Symbol.asyncDispose]();
    if (runtimeDirBefore === undefined) delete process.env.XDG_RUNTIME_DIR;
    else process.env.XDG_RUNTIME_DIR = runtimeDirBefore;
    rmSync(folder, { recursive: true, force: true });
  }, MIN);

  test(
    'of the fast image starts, knows its network and the time, outlives the runtime, and stops',
    async () => {
      using heard = recordEvents(runtime, 'termina:*');
      const vm = await termina.startVm({ name: 'foo', profile: 'fast' });
      expect(vm).toMatchObject({ name: 'foo', state: 'running', ipv4: '100.115.92.26' });
      expect(heard.events.map(({ topic }) => topic)).toEqual(['termina:starting', 'termina:started']);

      const [addresses] = await inGuest('foo', 'ip -4 -brief address show; ip route');
      expect(addresses).toContain('100.115.92.26/30');
      expect(addresses).toContain('default via 100.115.92.25');
      expect((await inGuest('foo', 'cat /etc/resolv.conf'))[0]).toContain('nameserver 100.115.92.3');
      const [seconds] = await inGuest('foo', 'date +%s');
      expect(Math.abs(Number(seconds) - Date.now() / 1_000)).toBeLessThan(30);
      expect((await inGuest('foo', 'exit 7'))[1]).toBe(7);

      await runtime[Symbol.asyncDispose]();
      await open();
      expect(await termina.getVm('foo')).toEqual(vm);
      expect((await inGuest('foo', 'echo still here'))[0]).toBe('still here');

      await termina.suspendVm('foo');
      await termina.resumeVm('foo');
      expect((await inGuest('foo', 'echo awake'))[0]).toBe('awake');

      await termina.stopVm('foo');
      expect(await termina.listVms()).toEqual([]);
      const [machine] = await runtime.get(vms).list();
      expect(machine).toMatchObject({ name: 't-foo', state: 'stopped' });
      expect(runtime.inspect().leases).toEqual([]);
      const left = readdirSync(join(folder, 'state'), { recursive: true }).map(String);
      expect(left.filter((name) => name.includes('vm%2F') && !name.startsWith('logs/'))).toEqual([]);
    },
    8 * MIN,
  );

  test(
    'of the full image keeps what is on its disk',
    async () => {
      await termina.startVm({ name: 'bar', profile: 'full', diskBytes: 2 ** 30 });
      const [mounts] = await inGuest('bar', 'grep /mnt/stateful /proc/mounts');
      expect(mounts).toMatch(/^\/dev\/vdb \/mnt\/stateful btrfs rw/);
      await inGuest('bar', 'echo kept > /mnt/stateful/note');
      await termina.stopVm('bar');
      await termina.startVm({ name: 'bar', profile: 'full' });
      expect((await inGuest('bar', 'cat /mnt/stateful/note'))[0]).toBe('kept');
      await termina.stopVm('bar');
    },
    8 * MIN,
  );
});
