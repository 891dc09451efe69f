import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Scope } from '../scope.ts';
import { PLUGIN, type ProcessFixture, processFixture, until } from '../test-programs/process-fixture.ts';
import { quietLog } from '../test-programs/quiet-log.ts';
import { readCookie } from './descendants.ts';
import { bootId, identify, isAlive, type ProcessIdentity } from './identity.ts';
import { MAX_LOG_FILE } from './log-file.ts';
import { type ProcessRecord, RecordStore } from './records.ts';
import type { SpawnRequest } from './types.ts';

let fixture: ProcessFixture;
const strangers: ChildProcess[] = [];
beforeEach(() => {
  fixture = processFixture();
});
afterEach(async () => {
  for (const child of fixture.processes.list()) await child.stop();
  await fixture[Symbol.asyncDispose]();
  for (const stranger of strangers.splice(0)) stranger.kill('SIGKILL');
});

function shell(key: string, script: string, more: Partial<SpawnRequest> = {}): SpawnRequest {
  return { key, kind: 'test', argv: ['/bin/sh', '-c', script], ...more };
}

function identityOf(pid: number | string | undefined): ProcessIdentity {
  const identity = identify(Number(pid));
  if (identity === undefined) throw new Error(`there is no process ${pid}`);
  return identity;
}

const program = join(import.meta.dirname, '../test-programs/process-parent.ts');
const nodeOptions = ['--conditions=@runtime/source'];

interface Started {
  readonly pid: number;
  readonly line: string;
}

/** Another runtime, with its first answer. */
async function startParent(...args: readonly string[]): Promise<{ parent: ChildProcess; started: readonly Started[] }> {
  const parent = spawn(process.execPath, [...nodeOptions, program, fixture.folder, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  strangers.push(parent);
  if (parent.stdout === null) throw new Error('no standard output');
  for await (const line of createInterface(parent.stdout)) return { parent, started: JSON.parse(line) as Started[] };
  throw new Error('the parent ended');
}

async function killParent(parent: ChildProcess): Promise<void> {
  const exit = once(parent, 'exit');
  parent.kill('SIGKILL');
  await exit;
}

function records(): readonly string[] {
  const folder = join(fixture.folder, 'processes');
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Something that has nothing to do with any runtime. */
async function stranger(): Promise<ProcessIdentity> {
  const child = spawn('/bin/sleep', ['600'], { stdio: 'ignore' });
  strangers.push(child);
  await once(child, 'spawn');
  return identityOf(child.pid);
}

function forge(record: Partial<ProcessRecord> & Pick<ProcessRecord, 'process'>): Promise<void> {
  return new RecordStore(fixture.folder, quietLog()).write({
    version: 1,
    plugin: PLUGIN,
    key: 'forged',
    kind: 'test',
    cookie: 'dead/demo/forged',
    detached: false,
    ready: true,
    ...record,
  });
}

test('when a runtime is killed its children end with it, and what they started at the next start', async () => {
  const requests = [
    shell('plain', 'echo up; exec sleep 600'),
    shell('deaf', 'trap "" TERM HUP; echo up; while :; do sleep 1; done'),
    shell('family', 'setsid sleep 600 & sleep 0.1; echo $!; wait'),
  ];
  const { parent, started } = await startParent(JSON.stringify(requests));
  const children = started.map(({ pid }) => identityOf(pid));
  const grandchild = identityOf(started[2]?.line);
  await killParent(parent);
  await until(() => children.every((child) => !isAlive(child)));
  expect(isAlive(grandchild)).toBe(true);
  expect(records()).toHaveLength(3);

  await fixture.table.recover();
  expect(isAlive(grandchild)).toBe(false);
  expect(records()).toEqual([]);
  expect(fixture.table.report()).toEqual([]);
});

test('a detached child outlives a runtime that was killed, and the next one has it with its data', async () => {
  const data = { vm: 'penguin', cid: 3 };
  const request = shell('vm', 'sleep 600 & echo $!; while :; do sleep 0.05; done', { detached: true, data });
  const { parent, started } = await startParent(JSON.stringify([request]));
  const vm = identityOf(started[0]?.pid);
  const helper = identityOf(started[0]?.line);
  await killParent(parent);
  expect(isAlive(vm)).toBe(true);

  await fixture.table.recover();
  expect(fixture.events).toMatchObject([
    { topic: 'process:adopted', data: { plugin: PLUGIN, key: 'vm', pid: vm.pid } },
  ]);
  expect(fixture.processes.list()).toMatchObject([{ key: 'vm', kind: 'test', pid: vm.pid, state: 'ready', data }]);
  const child = await fixture.processes.spawn(request);
  expect(child.pid).toBe(vm.pid);
  expect(child.log).toEqual([String(helper.pid)]);
  expect(fixture.events).toHaveLength(1);

  expect(await child.stop()).toEqual({ code: null, signal: null });
  expect([vm, helper].filter(isAlive)).toEqual([]);
  expect(fixture.events.at(-1)).toMatchObject({ topic: 'process:exited', data: { pid: vm.pid, expected: true } });
  expect(records()).toEqual([]);
});

test('a detached child outlives its plugin and a runtime that stops, and can be claimed again', async () => {
  const request = shell('vm', 'echo up; exec sleep 600', { detached: true, data: 1, ready: { line: /up/ } });
  const { pid } = await fixture.processes.spawn(request);
  await fixture.scope.close();
  expect(fixture.table.report()).toMatchObject([{ key: 'vm', pid, state: 'ready' }]);
  const scope = new Scope(PLUGIN);
  expect((await fixture.table.supervisor(PLUGIN, scope).spawn(request)).pid).toBe(pid);
  await fixture.table.stopAll();
  expect(fixture.table.pending()).toEqual([]);

  fixture = fixture.again();
  await fixture.table.recover();
  const [child] = fixture.processes.list();
  expect(child?.pid).toBe(pid);
  child?.kill('SIGKILL');
  // Nobody claimed it, so it is gone when it is gone.
  await child?.exited;
  expect(fixture.events.at(-1)).toMatchObject({ topic: 'process:exited', data: { pid, expected: false } });
  expect(fixture.table.report()).toEqual([]);
});

test('a child that was found again is started again as whoever claimed it wishes', async () => {
  const request = shell('vm', 'exec sleep 600', { detached: true, restart: { when: 'always', backoffMs: 1 } });
  const { pid } = await fixture.processes.spawn(request);
  await fixture.table.stopAll();
  fixture = fixture.again();
  await fixture.table.recover();
  const child = await fixture.processes.spawn(request);
  expect(child.pid).toBe(pid);
  child.kill('SIGKILL');
  await until(() => child.restarts === 1 && child.state === 'ready');
  expect(child.pid).not.toBe(pid);
  expect(child.detached).toBe(true);
});

test('a process that only has the number of a child is left alone', async () => {
  const innocent = await stranger();
  const older = { ...innocent, start: innocent.start - 1 };
  for (const process of [older, { ...innocent, boot: 'another boot' }]) {
    for (const detached of [false, true]) {
      await forge({ process, detached });
      const next = fixture.again();
      await next.table.recover();
      expect(next.table.report()).toEqual([]);
      expect(records()).toEqual([]);
    }
  }
  expect(isAlive(innocent)).toBe(true);
  // The same record with the right start time does mean it.
  await forge({ process: innocent });
  await fixture.table.recover();
  expect(isAlive(innocent)).toBe(false);
});

test('the children of a runtime that lives are left alone', async () => {
  const innocent = await stranger();
  await forge({ process: innocent, runtime: identityOf(process.pid) });
  await fixture.table.recover();
  expect(isAlive(innocent)).toBe(true);
  expect(records()).toHaveLength(1);
});

test('the group of a child that was found again is told before anything is ended', async () => {
  const script = `trap : TERM; sh -c 'trap "echo told; exit" TERM; echo up; while :; do sleep 0.05; done' & wait; wait`;
  await fixture.processes.spawn(shell('vm', script, { detached: true, ready: { line: /up/ } }));
  await fixture.table.stopAll();
  fixture = fixture.again();
  await fixture.table.recover();
  const [child] = fixture.processes.list();
  await child?.stop();
  expect(child?.log).toContain('told');
});

test('a detached child that never became ready is ended', async () => {
  const unready = await stranger();
  await forge({ process: unready, detached: true, ready: false });
  await fixture.table.recover();
  expect(isAlive(unready)).toBe(false);
});

test('what an ended child left behind is found by its cookie alone', async () => {
  const env = { RUNTIME_CHILD: 'dead/demo/forged' };
  const left = spawn('/bin/sleep', ['600'], { stdio: 'ignore', env, detached: true });
  strangers.push(left);
  const other = spawn('/bin/sleep', ['600'], { stdio: 'ignore', env: { RUNTIME_CHILD: 'dead/demo/forged2' } });
  strangers.push(other);
  const orphan = identityOf(left.pid);
  await forge({ process: { pid: 2 ** 22 - 1, start: 1, boot: bootId() } });
  await fixture.table.recover();
  expect(isAlive(orphan)).toBe(false);
  expect(isAlive(identityOf(other.pid))).toBe(true);
});

test('a runtime killed in the middle of anything leaves no child unknown', { timeout: 60_000 }, async () => {
  const marked = (): readonly number[] =>
    readdirSync('/proc')
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && homeOf(pid) === fixture.folder);
  for (let round = 0; round < 10; round += 1) {
    const { parent } = await startParent('storm', fixture.folder);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 100));
    await killParent(parent);
  }
  const next = fixture.again();
  await next.table.recover();
  const expected = next.table.report().map(({ pid }) => pid);
  const cookies = await Promise.all(marked().map(readCookie));
  const adopted = next.table.report().map(({ key }) => key);
  expect(new Set(cookies.map((cookie) => cookie?.split('/').at(-1)))).toEqual(new Set(adopted));
  // Each with the sleep that it started.
  expect(marked().length).toBe(2 * expected.length);
  await Promise.all(next.processes.list().map((child) => child.stop()));
  expect(marked()).toEqual([]);
  expect(records()).toEqual([]);
});

function homeOf(pid: number): string | undefined {
  try {
    const entries = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return entries.find((entry) => entry.startsWith('HOME='))?.slice(5);
  } catch {
    return undefined;
  }
}

test('the output of a detached child goes to a file, put aside when it is full', async () => {
  const request = shell('vm', 'echo "pid $$"; echo err >&2; exec sleep 600', {
    detached: true,
    ready: { line: /err/ },
  });
  const child = await fixture.processes.spawn(request);
  expect(child.log).toEqual([`pid ${child.pid}`, 'err']);
  await child.stop();
  const [file = ''] = readdirSync(join(fixture.folder, 'logs'));
  const path = join(fixture.folder, 'logs', file);
  writeFileSync(path, 'err\n'.repeat(MAX_LOG_FILE / 4 + 1));
  const next = await fixture.processes.spawn(request);
  // The old "err" lines did not make it ready.
  expect(next.log).toEqual([`pid ${next.pid}`, 'err']);
  expect(readFileSync(`${path}.1`, 'utf8')).toHaveLength(MAX_LOG_FILE + 4);
  await next.stop();
  const silent = shell('vm', 'exec sleep 600', { detached: true, ready: { line: /err/ }, readyMs: 100 });
  await expect(fixture.processes.spawn(silent)).rejects.toMatchObject({ code: 'CORE_ERR_PROCESS_READY' });
});

test('a detached child with the longest and oddest key has a log file, and is found again', async () => {
  const key = `../${'漢'.repeat(253)}`;
  await fixture.processes.spawn({
    ...shell(key, 'echo up; exec sleep 600', { detached: true, ready: { line: /up/ } }),
  });
  await fixture.table.stopAll();
  fixture = fixture.again();
  await fixture.table.recover();
  expect(fixture.processes.list()).toMatchObject([{ key, log: ['up'] }]);
});

test('a detached child may say that it is ready on its descriptor', async () => {
  const script = 'echo "READY=1" >&"$RUNTIME_READY_FD"; exec sleep 600';
  const child = await fixture.processes.spawn(shell('vm', script, { detached: true, ready: 'notify' }));
  expect(child.state).toBe('ready');
  await child.stop();
});
