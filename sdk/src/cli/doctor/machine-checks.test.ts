import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  checkCgroups,
  checkFolders,
  checkInotify,
  checkKvm,
  checkNode,
  checkPrograms,
  checkRuntimeFolder,
  checkUserNamespaces,
  machineChecks,
} from './machine-checks.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'doctor-'));
});
afterEach(() => rmSync(root, { recursive: true }));
function write(path: string, text = ''): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

describe('the doctor', () => {
  it('knows which Node is new enough', () => {
    expect(checkNode('24.12.0').status).toBe('ok');
    expect(checkNode('25.0.0').status).toBe('ok');
    expect(checkNode('24.11.9').status).toBe('fail');
    expect(checkNode('20.20.2').status).toBe('fail');
  });

  it('wants a runtime folder of its own', () => {
    mkdirSync(join(root, 'run'), { mode: 0o700 });
    expect(checkRuntimeFolder({ XDG_RUNTIME_DIR: join(root, 'run') }).status).toBe('ok');
    mkdirSync(join(root, 'open'), { mode: 0o755 });
    expect(checkRuntimeFolder({ XDG_RUNTIME_DIR: join(root, 'open') })).toMatchObject({
      status: 'warn',
      remedy: `chmod 700 ${join(root, 'open')}`,
    });
    expect(checkRuntimeFolder({ XDG_RUNTIME_DIR: join(root, 'none') }).status).toBe('fail');
  });

  it('wants folders that can be written, or made', () => {
    const env = { HOME: root, XDG_CONFIG_HOME: join(root, 'not/there/yet') };
    expect(checkFolders(env).status).toBe('ok');
    write('file');
    // A file where a folder should be: nothing can be made below it, whoever asks.
    expect(checkFolders({ ...env, XDG_STATE_HOME: '/proc/self/status' }).status).toBe('fail');
  });

  it('looks for programs in PATH', () => {
    write('bin/setpriv');
    expect(checkPrograms({ PATH: join(root, 'bin') }, ['setpriv', 'prlimit'])).toMatchObject({
      status: 'fail',
      found: expect.stringContaining('prlimit'),
    });
    expect(checkPrograms({ PATH: process.env.PATH }, ['sh']).status).toBe('ok');
  });

  it('reads the kernel', () => {
    expect(checkCgroups(root).status).toBe('warn');
    write('sys/fs/cgroup/cgroup.controllers');
    expect(checkCgroups(root).status).toBe('ok');
    expect(checkUserNamespaces(root).status).toBe('fail');
    write('proc/sys/user/max_user_namespaces', '1000\n');
    expect(checkUserNamespaces(root).status).toBe('ok');
    expect(checkInotify(root).status).toBe('warn');
    write('proc/sys/fs/inotify/max_user_watches', '100');
    expect(checkInotify(root)).toMatchObject({ status: 'warn', found: 'only 100 watches' });
    write('proc/sys/fs/inotify/max_user_watches', '65536');
    expect(checkInotify(root).status).toBe('ok');
    expect(checkKvm(root)).toMatchObject({ status: 'warn', found: '/dev/kvm is not there' });
    write('dev/kvm');
    expect(checkKvm(root).status).toBe('ok');
  });

  it('has a remedy for all that is not well', async () => {
    const env = { HOME: root, XDG_RUNTIME_DIR: join(root, 'none'), PATH: '' };
    for (const [name, check] of machineChecks({ env, cwd: root, configFile: join(root, 'none.yaml'), root })) {
      const result = await check();
      if (result.status !== 'ok') expect(result.remedy, name).toMatch(/\w/);
    }
  });

  it('tells sockets that nobody listens on', async () => {
    const env = { HOME: root, XDG_RUNTIME_DIR: root };
    mkdirSync(join(root, 'runtime'), { mode: 0o700 });
    const check = machineChecks({ env, cwd: root, configFile: undefined }).find(([name]) => name === 'sockets')?.[1];
    expect(await check?.()).toMatchObject({ status: 'ok', found: 'no runtime runs' });
    write('runtime/dead.sock');
    const server = createServer().listen(join(root, 'runtime/alive.sock'));
    try {
      await new Promise((resolve) => server.once('listening', resolve));
      expect(await check?.()).toMatchObject({ status: 'warn', found: expect.stringMatching(/dead\.sock$/) });
    } finally {
      server.close();
    }
  });
});
