// Scopes by a real systemd: that of a user, in a mount namespace in which the machine looks as if it were booted with one.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EventMap } from '@runtime/sdk';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { lackOfSystemd, openScopes } from './scopes.ts';

const SYSTEMD = ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'].find((file) => existsSync(file));
/** Where systemd keeps its tree: by name under version 1, else the only one there is. */
const TREES = ['systemd', 'unified'].map((name) => join('/sys/fs/cgroup', name)).filter((tree) => existsSync(tree));
const OURS = `runtime-test-${process.pid}`;
const canTry =
  process.getuid?.() === 0 &&
  SYSTEMD !== undefined &&
  TREES.length > 0 &&
  spawnSync('unshare', ['--mount', 'true'], { stdio: 'ignore' }).status === 0;

const START = `
set -e
mount -t tmpfs none /run/systemd
mkdir -p /run/systemd/system
for tree in $TREES; do mkdir "$tree/$OURS"; echo $$ > "$tree/$OURS/cgroup.procs"; done
exec "$SYSTEMD" --user --log-target=null
`;

describe.runIf(canTry)('scopes of a real systemd', () => {
  let folder: string;
  let systemd: ChildProcess;
  let bus: string;
  const children: ChildProcess[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'systemd-'));
    chmodSync(folder, 0o700);
    const env = { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder, TREES: TREES.join(' '), OURS, SYSTEMD };
    systemd = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', START], { env, stdio: 'ignore' });
    bus = `unix:path=${folder}/bus`;
    const isThere = async () => expect(await lackOfSystemd(bus)).toBe(undefined);
    await vi.waitFor(isThere, { timeout: 30_000, interval: 200 });
  }, 40_000);

  afterAll(async () => {
    for (const child of children) child.kill('SIGKILL');
    systemd.kill('SIGTERM');
    const remove = (): void => {
      for (const tree of TREES) removeGroup(join(tree, OURS));
    };
    await vi.waitFor(remove, { timeout: 10_000, interval: 100 });
    rmSync(folder, { recursive: true, force: true });
  }, 20_000);

  const sleep = (): number => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    children.push(child);
    return child.pid as number;
  };
  const groupOf = (pid: number): string =>
    /^(?:\d+:name=systemd|0:):(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';

  test('processes of a VM are moved into one, those that come later, too', async () => {
    let started: (data: EventMap['process:started']) => unknown = () => {};
    const log = { debug: vi.fn(), warn: vi.fn() };
    await using scopes = openScopes({
      ...{ mode: bus, log, describe: (vm) => `VM ${vm}` },
      events: {
        on(_topic, listener) {
          started = listener as never;
          return { [Symbol.dispose]: () => {} };
        },
      },
    });
    const pids = Array.from({ length: 4 }, sleep);
    const keys = ['t-one/rng0', 'vm/t-one/qemu', 't-one/net0/passt-1', 't-two/rng0'];
    for (const [at, pid] of pids.entries()) started({ plugin: 'vmm', key: keys[at] as string, kind: 'device', pid });
    await scopes.settled();
    expect(log.warn.mock.calls).toEqual([]);
    const names = ['one', 'one', 'one', 'two'].map((name) => expect.stringMatching(`/runtime-vm-t-${name}\\.scope$`));
    // systemd answers first, and moves them then.
    await vi.waitFor(() => expect(pids.map(groupOf)).toEqual(names));
    // When all of it has ended, the scope is gone, and the next start gets a new one.
    for (const child of children) child.kill('SIGKILL');
    const again = sleep();
    started({ plugin: 'vmm', key: 't-one/rng0', kind: 'device', pid: again });
    await scopes.settled();
    await vi.waitFor(() => expect(groupOf(again)).toMatch(/\/runtime-vm-t-one\.scope$/));
    // One that has ended before anybody looked is none to tell of.
    started({ plugin: 'vmm', key: 't-three/rng0', kind: 'device', pid: 2 ** 22 - 1 });
    await scopes.settled();
    expect(log.warn.mock.calls).toEqual([]);
  });
});

function removeGroup(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroup(join(path, entry.name));
  for (const pid of readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) kill(Number(pid));
  rmdirSync(path);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
