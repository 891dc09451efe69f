import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fakeClock } from '../test-programs/fake-clock.ts';
import { type ProcessFixture, processFixture, until } from '../test-programs/process-fixture.ts';
import { Tracer } from '../tracing.ts';
import { inheritable } from './descriptor-seal.ts';
import type { ProcessTableOptions } from './process-table.ts';
import type { SpawnPlan, SpawnRequest } from './types.ts';

let fixture: ProcessFixture;
beforeEach(() => {
  fixture = processFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

async function replaceFixture(options: Partial<ProcessTableOptions>): Promise<void> {
  await fixture[Symbol.asyncDispose]();
  fixture = processFixture(options);
}

function shell(script: string, more: Partial<SpawnRequest> = {}): SpawnRequest {
  return { key: 'child', kind: 'test', argv: ['/bin/sh', '-c', script], ...more };
}

test('a child is ready once its program runs, and says what becomes of it', async () => {
  const child = await fixture.processes.spawn({ key: 'child', kind: 'test', argv: ['sleep', '60'] });
  expect(readFileSync(`/proc/${child.pid}/cmdline`, 'latin1')).toMatch(/^\/\S*\/sleep\0/);
  expect(child).toMatchObject({ key: 'child', plugin: 'demo', kind: 'test', state: 'ready', restarts: 0 });
  expect(fixture.table.report()).toEqual([
    { plugin: 'demo', key: 'child', kind: 'test', pid: child.pid, state: 'ready', restarts: 0, detached: false },
  ]);
  const { pid } = child;
  expect(child.kill('SIGINT')).toBe(true);
  expect(await child.exited).toEqual({ code: null, signal: 'SIGINT' });
  expect(child).toMatchObject({ pid: undefined, state: 'exited' });
  expect(child.kill('SIGINT')).toBe(false);
  expect(fixture.events.map(({ topic, data }) => ({ topic, ...data }))).toMatchObject([
    { topic: 'process:started', pid, kind: 'test' },
    { topic: 'process:ready', pid },
    { topic: 'process:exited', pid, code: null, signal: 'SIGINT', expected: false },
  ]);
  expect(fixture.processes.list()).toEqual([]);
  expect(fixture.scope.labels).toEqual([]);
});

test('a child is ready when it says so on its descriptor', async () => {
  const script = 'read -r line; echo "READY=1" >&"$RUNTIME_READY_FD"; exec sleep 60';
  let ready = false;
  const spawning = fixture.processes.spawn(shell(script, { ready: 'notify', stdio: 'pipe' })).finally(() => {
    ready = true;
  });
  await until(() => fixture.events.some(({ topic }) => topic === 'process:started'));
  expect(ready).toBe(false);
  expect(fixture.table.report()[0]?.state).toBe('starting');
  fixture.processes.list()[0]?.stdin?.write('now\n');
  expect((await spawning).state).toBe('ready');
});

test('a child is ready when it prints the line', async () => {
  const child = await fixture.processes.spawn(
    shell('echo starting; echo "listening on 7"; exec sleep 60', { ready: { line: /^listening on \d+$/g } }),
  );
  expect(child.log).toEqual(['starting', 'listening on 7']);
});

test('a child that does not become ready in time is ended, with its signals', async () => {
  const request = shell('trap "echo told; exit 0" TERM; echo up; while :; do sleep 0.05; done', {
    ready: { line: /never/ },
    readyMs: 300,
  });
  await expect(fixture.processes.spawn(request)).rejects.toMatchObject({
    code: 'CORE_ERR_PROCESS_READY',
    message: 'process demo/child was not ready within 300 ms; last output: up',
  });
  await until(() => fixture.table.report().length === 0);
  expect(fixture.log.lines.map(({ message }) => message)).toContain('told');
});

test('a child that ends before it is ready tells why', async () => {
  const request = shell('echo "no such disk" >&2; exit 3', { ready: 'notify' });
  await expect(fixture.processes.spawn(request)).rejects.toMatchObject({
    code: 'CORE_ERR_PROCESS_EXITED',
    message: 'process demo/child ended (exit code 3) before it was ready; last output: no such disk',
  });
  // The key is free again at once.
  expect((await fixture.processes.spawn(shell('exec sleep 60'))).state).toBe('ready');
  expect(fixture.events.find(({ topic }) => topic === 'process:exited')?.data).toMatchObject({ expected: false });
});

test('what cannot be started is refused with the reason', async () => {
  const refusal = (request: Partial<SpawnRequest>): Promise<string> =>
    fixture.processes.spawn({ key: 'child', kind: 'test', argv: ['/bin/true'], ...request }).then(
      () => 'it started',
      (e: Error & { code: string }) => `${e.code}: ${e.message}`,
    );
  const text = join(fixture.folder, 'text');
  writeFileSync(text, 'not a program\n', { mode: 0o600 });
  const script = join(fixture.folder, 'script');
  writeFileSync(script, '#!/no/such/interpreter\n', { mode: 0o700 });
  const spawn = 'CORE_ERR_SPAWN: process demo/child could not be started';
  expect(await refusal({ argv: ['/no/such/file'] })).toBe(`${spawn}: /no/such/file does not exist`);
  expect(await refusal({ argv: ['no-such-program'], env: { PATH: '/bin' } })).toBe(
    `${spawn}: no-such-program is not in its PATH (/bin)`,
  );
  expect(await refusal({ argv: ['/bin'] })).toBe(`${spawn}: /bin is not a file`);
  expect(await refusal({ argv: [text] })).toBe(`${spawn}: ${text} may not be executed`);
  expect(await refusal({ argv: [script] })).toMatch(/runtime-gate: .*not found/);
  expect(await refusal({ cwd: '/no/such/folder' })).toBe(`${spawn}: its folder /no/such/folder does not exist`);
  expect(await refusal({ fds: [{ child: 3, parent: 9999 }] })).toMatch(/CORE_ERR_SPAWN: .*EBADF/);
  expect(await refusal({ cgroup: join(fixture.folder, 'none') })).toMatch(/CORE_ERR_SPAWN_PLAN: .*cgroup.*ENOENT/);
  expect(await refusal({ jail: {}, jailRequired: true })).toMatch(
    /CORE_ERR_SPAWN_PLAN: .*no plugin carries out its jail/,
  );
  await until(() => fixture.table.report().length === 0);
  expect(fixture.scope.labels).toEqual([]);
});

test('the environment is what was asked for and nothing else', async () => {
  const child = await fixture.processes.spawn({
    key: 'child',
    kind: 'test',
    argv: ['/usr/bin/env'],
    env: { OWN: 'a b', PATH: '/bin', HOME: '/h', LANG: 'C', XDG_RUNTIME_DIR: '/x' },
  });
  await child.exited;
  const expected = ['RUNTIME_CHILD=test/demo/child', 'OWN=a b', 'PATH=/bin', 'HOME=/h', 'LANG=C', 'XDG_RUNTIME_DIR=/x'];
  // Where /bin/sh is bash, it cannot be kept from setting these two.
  const seen = child.log.filter((line) => !/^(_|SHLVL)=/.test(line));
  expect(seen.sort()).toEqual(expected.sort());
});

test('descriptors arrive under their numbers, and the numbers between stay closed', async () => {
  const files = [3, 9, 40].map((child) => {
    const file = join(fixture.folder, `fd${child}`);
    writeFileSync(file, `${child}`);
    return { child, parent: openSync(file, 'r') };
  });
  const script = 'for n in 3 9 40; do cat /proc/self/fd/$n; echo; done; ls /proc/self/fd | tr "\\n" " "';
  const child = await fixture.processes.spawn(shell(script, { fds: files }));
  await child.exited;
  expect(child.log.slice(0, 3)).toEqual(['3', '9', '40']);
  // 4 is the folder that ls reads. What this test was started with can only be sealed by a native host.
  const open = new Set(child.log[3]?.trim().split(' ').map(Number));
  expect(open.difference(new Set(inheritable()))).toEqual(new Set([0, 1, 2, 3, 4, 9, 40]));
  // Still the caller's.
  expect(readSync(files[0]?.parent ?? -1, Buffer.alloc(1))).toBeGreaterThanOrEqual(0);
  for (const { parent } of files) closeSync(parent);
});

test('resource limits hold for the program', async () => {
  const rlimits = [
    { resource: 'RLIMIT_NOFILE', soft: 17n, hard: 64n },
    { resource: 'core', soft: 0n, hard: 0n },
  ];
  const child = await fixture.processes.spawn(shell('ulimit -Sn; ulimit -Hn; ulimit -c', { rlimits }));
  await child.exited;
  expect(child.log).toEqual(['17', '64', '0']);
});

test('a limit that may not be set is told from a program that fails', async () => {
  const rlimits = [{ resource: 'nofile', soft: 2n ** 50n, hard: 2n ** 50n }];
  await expect(fixture.processes.spawn(shell('exit 0', { rlimits }))).rejects.toMatchObject({
    code: 'CORE_ERR_SPAWN',
    message: expect.stringContaining('prlimit: failed to set the NOFILE resource limit'),
  });
});

test('the child is in its cgroup before its program begins', async () => {
  const cgroup = join(fixture.folder, 'cgroup');
  mkdirSync(cgroup);
  writeFileSync(join(cgroup, 'cgroup.procs'), '');
  const child = await fixture.processes.spawn(
    shell('echo "$$"; cat "$OLDPWD"cgroup.procs', { cgroup, env: { OLDPWD: `${cgroup}/` } }),
  );
  await child.exited;
  expect(child.log[1]).toBe(child.log[0]);
});

const hierarchy = '/sys/fs/cgroup';
/** A folder of cgroup v2 or of one controller of v1, where this user may make one. */
function makeCgroup(): string | undefined {
  for (const parent of [hierarchy, join(hierarchy, 'unified'), join(hierarchy, 'pids')]) {
    const folder = join(parent, `runtime-test-${process.pid}`);
    try {
      mkdirSync(folder);
      if (existsSync(join(folder, 'cgroup.procs'))) return folder;
      rmdirSync(folder);
    } catch {
      // Not here, or not allowed.
    }
  }
  return undefined;
}
const cgroup = makeCgroup();

test.skipIf(cgroup === undefined)('a real cgroup takes the child in', async () => {
  const child = await fixture.processes.spawn(shell('exec sleep 60', { cgroup: cgroup ?? '' }));
  expect(readFileSync(`/proc/${child.pid}/cgroup`, 'latin1')).toContain(`runtime-test-${process.pid}`);
  await child.stop();
  rmdirSync(cgroup ?? '');
});

test('each step of a child is traced', async () => {
  const tracer = new Tracer('traced');
  const steps: unknown[] = [];
  using _subscription = tracer.subscribe(({ kind, phase, name, plugin, detail }) => {
    if (kind === 'process') steps.push([phase, name, plugin, detail]);
  });
  await replaceFixture({ tracer });
  const child = await fixture.processes.spawn(shell('exec sleep 60'));
  const { pid } = child;
  await child.stop();
  expect(steps).toEqual([
    ['start', 'demo/child', 'demo', { step: 'start' }],
    ['point', 'demo/child', 'demo', { state: 'ready', pid }],
    ['end', 'demo/child', 'demo', undefined],
    ['start', 'demo/child', 'demo', { step: 'stop' }],
    ['point', 'demo/child', 'demo', { state: 'stopping', pid }],
    ['point', 'demo/child', 'demo', { step: 'term', pid }],
    ['point', 'demo/child', 'demo', { state: 'exited', pid: undefined }],
    ['end', 'demo/child', 'demo', undefined],
  ]);
});

test('the hook sees the plan and what it answers is what is started', async () => {
  let seen: SpawnPlan | undefined;
  await replaceFixture({
    callBeforeSpawn: async (plan) => {
      seen = plan;
      const { jail, ...rest } = plan;
      return { ...rest, argv: ['/bin/echo', 'jailed', JSON.stringify(jail)], env: { ...plan.env, ADDED: '1' } };
    },
  });
  const child = await fixture.processes.spawn(shell('exit 1', { jail: { policy: 'x' }, jailRequired: true }));
  await child.exited;
  expect(child.log).toEqual(['jailed {"policy":"x"}']);
  expect(seen).toMatchObject({ key: 'child', plugin: 'demo', kind: 'test', jailRequired: true });
  expect(fixture.log.lines.filter(({ message }) => message.includes('without the jail'))).toEqual([]);
});

test('a jail that is only wished for is missed aloud', async () => {
  const child = await fixture.processes.spawn(shell('exit 0', { jail: {} }));
  await child.exited;
  expect(fixture.log.lines.map(({ message }) => message)).toContainEqual(
    expect.stringContaining('demo/child runs without the jail it asked for'),
  );
});

test('a hook that refuses ends the start and leaves nothing', async () => {
  await replaceFixture({
    callBeforeSpawn: async () => {
      throw new Error('not today');
    },
  });
  await expect(fixture.processes.spawn(shell('exit 0'))).rejects.toThrow('not today');
  await until(() => fixture.table.report().length === 0);
  expect(fixture.events).toEqual([]);
});

test('pipes are the caller’s, to the last byte, and errors still go to the log', async () => {
  const child = await fixture.processes.spawn({ ...shell('cat; echo done >&2'), stdio: 'pipe' });
  const sent = Buffer.alloc(300_000, 'abcdefg\n');
  child.stdin?.end(sent);
  const received: Buffer[] = [];
  for await (const chunk of child.stdout ?? []) received.push(chunk);
  expect(Buffer.concat(received).equals(sent)).toBe(true);
  await child.exited;
  expect(child.log).toEqual(['done']);
});

test('what a short-lived child wrote can be read after it ended', async () => {
  const child = await fixture.processes.spawn({ ...shell('echo hello'), stdio: 'pipe' });
  await child.exited;
  const received: Buffer[] = [];
  for await (const chunk of child.stdout ?? []) received.push(chunk);
  expect(String(Buffer.concat(received))).toBe('hello\n');
});

test('writing to a child that ended harms nobody', async () => {
  const child = await fixture.processes.spawn({ ...shell('exit 0'), stdio: 'pipe' });
  const { stdin } = child;
  await child.exited;
  const failed = new Promise<boolean>((resolve) => stdin?.write('x', (e) => resolve(e != null)));
  expect(await failed).toBe(true);
});

test('no more children than allowed are started', async () => {
  await replaceFixture({ maxChildren: 2 });
  await fixture.processes.spawn(shell('exec sleep 60', { key: 'a' }));
  const b = await fixture.processes.spawn(shell('exec sleep 60', { key: 'b' }));
  const c = shell('exec sleep 60', { key: 'c' });
  await expect(fixture.processes.spawn(c)).rejects.toMatchObject({ code: 'CORE_ERR_PROCESS_LIMIT' });
  await b.stop();
  expect((await fixture.processes.spawn(c)).state).toBe('ready');
});

test('asked for twice at once, a child is started once', async () => {
  const [a, b] = await Promise.all([
    fixture.processes.spawn(shell('exec sleep 60')),
    fixture.processes.spawn(shell('exec sleep 60')),
  ]);
  expect(a).toBe(b);
  expect(fixture.events.filter(({ topic }) => topic === 'process:started')).toHaveLength(1);
});

test('output goes to the log with the name of the child, and a flood does not', async () => {
  await replaceFixture({ clock: fakeClock() });
  const child = await fixture.processes.spawn(shell('seq 20000; echo last >&2'));
  await child.exited;
  expect(child.log).toHaveLength(200);
  expect(child.log).toContain('20000');
  const info = fixture.log.lines.filter(({ level }) => level === 'info');
  expect(info).toHaveLength(500);
  expect(info[0]).toEqual({ level: 'info', fields: { stream: 'stdout' }, message: '1' });
  expect(fixture.log.lines.at(-1)?.message).toBe('19501 lines dropped');
});
