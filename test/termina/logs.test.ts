// What VMs log: from the first line of the kernel on, what their programs write, what crashes, and all of it after the end.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { createTestRuntime, recordEvents, type TestRuntime } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { callMaitred } from '../../plugins/crostini/src/concierge/maitred.ts';
import { type Concierge, concierge } from '../../plugins/crostini/src/contract.ts';
import crostini from '../../plugins/crostini/src/index.ts';
import { openVsh } from '../../plugins/crostini/src/vsh/client.ts';
import vmm from '../../plugins/vmm/src/index.ts';
import { lacking } from '../vm/lab.ts';

const missing = lacking();
const MIN = 60_000;

/** A program of two instructions: xor %eax,%eax; mov %eax,(%rax). */
const CRASHING =
  'f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAeABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAABAAAAAAAAAAEAAAAFAAAAAAAAAAAAAAAAAEAAAAAAAAAA' +
  'QAAAAAAAfAAAAAAAAAB8AAAAAAAAAAAQAAAAAAAAMcCJAA==';

describe.skipIf(missing !== undefined)(`logs${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  let folder: string;
  let runtime: TestRuntime;
  let termina: Concierge;
  let runtimeDirBefore: string | undefined;

  const open = async (): Promise<void> => {
    const config = { crostini: { dbus: 'off' } };
    runtime = await createTestRuntime({ plugins: [vmm, crostini], config, stateDirectory: join(folder, 'state') });
    termina = runtime.get(concierge);
  };
  const inGuest = async (command: string): Promise<string> => {
    const { directory } = await termina.endpoint('foo');
    using session = await openVsh({ socketPath: join(directory, 'vsock.sock.g9001'), user: 'root', command });
    session.stdin.end();
    const [out, err] = await Promise.all([text(session.stdout), text(session.stderr), session.exit]);
    return (out + err).trim();
  };
  const logs = async (options: Readonly<Record<string, unknown>> = {}): Promise<string> =>
    (await runtime.run('logs', { args: ['foo'], options })).out.join('\n');

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'tl-'));
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
    'a VM is heard as long as it runs, and can be read when it has ended',
    async () => {
      using heard = recordEvents(runtime, 'termina:crash');
      await termina.startVm({ name: 'foo', profile: 'fast' });
      const { directory } = await termina.endpoint('foo');
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

      await inGuest(`echo ${CRASHING} | base64 -d > /run/bad; chmod +x /run/bad; /run/bad`);
      await vi.waitFor(async () => expect(await logs({ source: ['crash'] })).toContain('bad crashed (pid'), {
        ...{ timeout: MIN, interval: 500 },
      });

      await runtime[Symbol.asyncDispose]();
      await open();
      await inGuest('echo "<3>said under the next runtime" > /dev/kmsg');
      await vi.waitFor(async () => expect(await logs({ since: '1m' })).toContain('said under the next runtime'), {
        ...{ timeout: MIN, interval: 500 },
      });
      const [info] = (await runtime.run('info', { args: ['foo'] })).data as { crashes: { what: string }[] }[];
      expect(info?.crashes[0]?.what).toBe('sh ended, and is to run always');

      const following = runtime.run('logs', { args: ['foo'], options: { follow: true, lines: 1 } });
      await inGuest('echo "<3>the last one" > /dev/kmsg; sleep 2');
      await termina.stopVm('foo');
      const followed = (await following).out.join('\n');
      expect(followed).toContain('the last one');
      expect(followed).toContain('maitred: the machine is being shut down');
      expect(await logs({ lines: 3 })).toMatch(/^(\S+ +\S+ +.*\n?){3}$/);
      await runtime.run('delete', { args: ['foo'], options: { yes: true } });
      await expect(logs()).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_NOT_FOUND' });
    },
    8 * MIN,
  );
});
