// The files for an installation, as a real dbus-daemon takes them.

import { execFile, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { connectBus } from '@runtime/sdk/dbus';
import { hasDbusDaemon } from '@runtime/sdk/testing';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import * as cicerone from './cicerone/methods.ts';
import { OBJECT_PATH, SERVICE } from './methods.ts';

const run = promisify(execFile);
const SHARE = fileURLToPath(new URL('../../share/dbus-1/', import.meta.url));
const isRoot = process.getuid?.() === 0;
/** Of systemd. */
const hasBusctl = spawnSync('busctl', ['--version'], { stdio: 'ignore' }).status === 0;

describe.runIf(hasDbusDaemon())('files for an installation', () => {
  let folder: string;
  let end: () => Promise<void>;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'installed-bus-'));
    chmodSync(folder, 0o755);
  });
  afterEach(async () => {
    await end();
    rmSync(folder, { recursive: true });
  });

  async function startBus(body: string, path = process.env.PATH): Promise<string> {
    const socket = join(folder, 'bus');
    const config = join(folder, 'bus.conf');
    writeFileSync(config, `<busconfig><listen>unix:path=${socket}</listen><auth>EXTERNAL</auth>${body}</busconfig>`);
    const daemon = spawn('dbus-daemon', [`--config-file=${config}`, '--nofork', '--nopidfile'], {
      stdio: 'ignore',
      env: { ...process.env, PATH: path },
    });
    const ended = new Promise((resolve) => daemon.once('exit', resolve));
    end = async () => {
      daemon.kill();
      await ended;
    };
    await vi.waitFor(() => expect(existsSync(socket)).toBe(true), 5000);
    return `unix:path=${socket}`;
  }

  const SYSTEM = `<type>system</type>
    <policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
    <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
    <allow send_destination="org.freedesktop.DBus"/></policy>
    <include>${SHARE}system.d/org.chromium.VmConcierge.conf</include>
    <include>${SHARE}system.d/org.chromium.VmCicerone.conf</include>`;

  const NAMES = [
    [SERVICE, OBJECT_PATH],
    [cicerone.SERVICE, cicerone.OBJECT_PATH],
  ] as const;

  test.runIf(isRoot && hasBusctl).each(NAMES)(
    'the policy lets root have %s, and nobody else call',
    async (name, path) => {
      const address = await startBus(SYSTEM);
      await using bus = await connectBus({ bus: address });
      bus.exportObject(path, { [name]: { spec: { methods: { Ask: {} } }, methods: { Ask: () => [] } } });
      await bus.requestName(name);
      const busctl = [`--address=${address}`, 'call', name, path];
      await run('busctl', [...busctl, name, 'Ask']);
      const nobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups', 'busctl', ...busctl];
      await expect(run('setpriv', [...nobody, name, 'Ask'])).rejects.toThrow(/denied|rejected/i);
      await run('setpriv', [...nobody, 'org.freedesktop.DBus.Peer', 'Ping']);
    },
  );

  test.each(NAMES)('the first call of %s starts the runtime', async (service, path) => {
    writeFileSync(join(folder, 'runtime'), `#!/bin/sh\necho "$@" > ${folder}/asked\nexit 3\n`, { mode: 0o755 });
    const everything = `<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>`;
    const services = `<servicedir>${SHARE}services</servicedir>`;
    const address = await startBus(`<type>session</type>${services}${everything}`, `${folder}:${process.env.PATH}`);
    await using bus = await connectBus({ bus: address });
    const call = { service, path, interface: service, member: 'Ask', timeoutMs: 5000 };
    const answered = bus.call(call).catch((e: unknown) => String(e));
    await vi.waitFor(() => expect(readFileSync(join(folder, 'asked'), 'utf8')).toBe('--plugins vmm,crostini\n'), 5000);
    // What was started here fails, and the bus says so.
    expect(await answered).toContain('org.freedesktop.DBus.Error.Spawn');
  });
});

const hasAnalyze = spawnSync('systemd-analyze', ['--version'], { stdio: 'ignore' }).status === 0;

describe.runIf(hasAnalyze)('units of systemd', () => {
  test.each(['user', 'system'])('the one of the %s is sound', async (where) => {
    const unit = fileURLToPath(new URL(`../../share/systemd/${where}/runtime.service`, import.meta.url));
    const folder = mkdtempSync(join(tmpdir(), 'units-'));
    try {
      const env = { ...process.env, XDG_RUNTIME_DIR: folder };
      const { stderr } = await run('systemd-analyze', ['verify', '--man=no', `--${where}`, unit], { env });
      expect(stderr.split('\n').filter((line) => line.includes('runtime.service'))).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
