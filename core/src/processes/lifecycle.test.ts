import { afterEach, beforeEach, expect, test } from 'vitest';
import { Scope } from '../scope.ts';
import { fakeClock } from '../test-programs/fake-clock.ts';
import { PLUGIN, type ProcessFixture, processFixture, until } from '../test-programs/process-fixture.ts';
import { identify, isAlive } from './identity.ts';
import type { ManagedProcess, SpawnRequest } from './types.ts';

let fixture: ProcessFixture;
beforeEach(() => {
  fixture = processFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

function shell(script: string, more: Partial<SpawnRequest> = {}): SpawnRequest {
  return { key: 'child', kind: 'test', argv: ['/bin/sh', '-c', script], ...more };
}
const sleeper: SpawnRequest = { key: 'child', kind: 'test', argv: ['/bin/sleep', '600'] };

function isGone(pid: number): boolean {
  const identity = identify(pid);
  return identity === undefined || !isAlive(identity);
}

/** Starts a child whose first line is the pid of something it started itself. */
async function withDescendant(script: string, more: Partial<SpawnRequest> = {}): Promise<[ManagedProcess, number]> {
  const child = await fixture.processes.spawn(shell(script, { ready: { line: /^\d+$/ }, ...more }));
  return [child, Number(child.log.at(-1))];
}

// ---- the stop ladder ----------------------------------------------------------------------------------------------------

test('a child that does as it is asked gets no signal', async () => {
  const child = await fixture.processes.spawn(
    shell('read -r line; echo "heard $line"; exit 7', {
      stdio: 'pipe',
      ask: ({ stdin }) => void stdin?.write('please\n'),
    }),
  );
  expect(await child.stop()).toEqual({ code: 7, signal: null });
  expect(await child.stop()).toEqual({ code: 7, signal: null });
  expect(fixture.events.at(-1)?.data).toMatchObject({ expected: true, code: 7 });
});

test('each rung has its time, and then comes the next', async () => {
  const clock = fakeClock();
  await fixture[Symbol.asyncDispose]();
  fixture = processFixture({ clock });
  const rungs: string[] = [];
  const child = await fixture.processes.spawn(
    shell('trap "echo no" TERM; echo up; while :; do sleep 0.02; done', {
      ready: { line: /up/ },
      ask: () => void rungs.push('ask'),
      stopMs: { ask: 100, term: 200, kill: 300 },
    }),
  );
  const stopped = child.stop();
  expect(child.state).toBe('stopping');
  await until(() => clock.pending === 1);
  clock.advance(99);
  expect(child.log).not.toContain('no');
  clock.advance(1);
  await until(() => child.log.includes('no'));
  clock.advance(199);
  expect(child.pid).toBeDefined();
  clock.advance(1);
  expect(await stopped).toEqual({ code: null, signal: 'SIGKILL' });
  expect(rungs).toEqual(['ask']);
});

test('who cannot be asked is told at once', async () => {
  const child = await fixture.processes.spawn({
    ...sleeper,
    ask: () => {
      throw new Error('the line is dead');
    },
    stopMs: { ask: 1_000_000 },
  });
  expect(await child.stop()).toEqual({ code: null, signal: 'SIGTERM' });
  expect(fixture.log.lines.map(({ message }) => message)).toContain('demo/child could not be asked to end');
});

test('a stop reaches the descendants, also those that left the group or outlive the child', async () => {
  const [child, inGroup] = await withDescendant('sleep 600 & echo $!; wait');
  await child.stop();
  expect(isGone(inGroup)).toBe(true);
  const [other, inSession] = await withDescendant('setsid sleep 600 & sleep 0.1; echo $!; wait');
  await other.stop();
  expect(isGone(inSession)).toBe(true);
  // Without its environment, but still in the session of the child.
  const [third, nameless] = await withDescendant(
    'trap "" TERM; env -i /bin/sh -c "trap : TERM; sleep 600" & echo $!; wait',
  );
  third.kill('SIGKILL');
  await third.exited;
  expect(isGone(nameless)).toBe(true);
});

test('what a child leaves behind when it ends by itself is ended too', async () => {
  const [child, left] = await withDescendant('sleep 600 & echo $!; sleep 0.1; exit 0');
  await child.exited;
  expect(isGone(left)).toBe(true);
});

test('the whole group is told before anything is ended', async () => {
  const script = `trap : TERM; sh -c 'trap "echo told; exit" TERM; echo up; while :; do sleep 0.05; done' & wait; wait`;
  const child = await fixture.processes.spawn(shell(script, { ready: { line: /up/ } }));
  await child.stop();
  expect(child.log).toContain('told');
});

test('a child can be stopped while it starts', async () => {
  const spawning = fixture.processes.spawn(shell('exec sleep 600', { ready: 'notify' }));
  const refused = expect(spawning).rejects.toMatchObject({ code: 'CORE_ERR_PROCESS_EXITED' });
  await until(() => fixture.events.length > 0);
  await fixture.processes.list()[0]?.stop();
  await refused;
  expect(fixture.table.report()).toEqual([]);
});

test('a child can be stopped while the hook is asked', async () => {
  const answer = Promise.withResolvers<void>();
  await fixture[Symbol.asyncDispose]();
  fixture = processFixture({ callBeforeSpawn: (plan) => answer.promise.then(() => plan) });
  const spawning = fixture.processes.spawn(sleeper);
  const refused = expect(spawning).rejects.toMatchObject({ code: 'CORE_ERR_PROCESS_EXITED' });
  const stopped = fixture.processes.list()[0]?.stop();
  answer.resolve();
  await stopped;
  await refused;
  expect(fixture.events).toEqual([]);
});

test('unloading its plugin stops a child, and stopping all stops the rest', async () => {
  const child = await fixture.processes.spawn(sleeper);
  expect(fixture.scope.labels).toEqual(['process child']);
  await fixture.scope.close();
  expect(child.state).toBe('exited');
  const late = fixture.processes.spawn({ ...sleeper, key: 'late' });
  await expect(late).rejects.toMatchObject({ code: 'CORE_ERR_SCOPE_CLOSED' });

  const scope = new Scope('other');
  const others = fixture.table.supervisor('other', scope);
  const other = await others.spawn(sleeper);
  expect(fixture.table.pending()).toEqual([`process other/child (ready, pid ${other.pid})`]);
  await fixture.table.stopAll();
  expect(other.state).toBe('exited');
  expect(fixture.table.pending()).toEqual([]);
  await expect(others.spawn(sleeper)).rejects.toMatchObject({ code: 'CORE_ERR_CLOSING' });
});

// ---- restarts -------------------------------------------------------------------------------------------------------------

test('a child that ends is started again after a growing delay, until it is a crash loop', async () => {
  const clock = fakeClock();
  await fixture[Symbol.asyncDispose]();
  fixture = processFixture({ clock, random: () => 0 });
  const child = await fixture.processes.spawn({
    ...sleeper,
    restart: { when: 'on-failure', backoffMs: 1000, crashLimit: 3, windowMs: 60_000 },
  });
  const pids = new Set<number | undefined>();
  for (const delay of [500, 1000]) {
    pids.add(child.pid);
    child.kill('SIGKILL');
    await until(() => child.state === 'backoff');
    expect(child.pid).toBeUndefined();
    clock.advance(delay - 1);
    expect(child.state).toBe('backoff');
    clock.advance(1);
    await child.ready();
    expect(child.state).toBe('ready');
  }
  pids.add(child.pid);
  expect(pids.size).toBe(3);
  expect(child.restarts).toBe(2);
  child.kill('SIGKILL');
  expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' });
  expect(child.state).toBe('crash-loop');
  expect(fixture.events.at(-1)).toMatchObject({ topic: 'process:crash-loop', data: { key: 'child', count: 3 } });
  await expect(child.ready()).rejects.toMatchObject({ code: 'CORE_ERR_PROCESS_EXITED' });
  // It stays in sight, and can be started anew.
  expect(fixture.table.report()).toMatchObject([{ key: 'child', state: 'crash-loop' }]);
  expect(await fixture.processes.spawn(sleeper)).toMatchObject({ state: 'ready', restarts: 0 });
});

test('an incarnation that does not become ready counts as one that ended', async () => {
  const clock = fakeClock();
  await fixture[Symbol.asyncDispose]();
  fixture = processFixture({ clock });
  // Ready the first time only.
  const flag = `${fixture.folder}/flag`;
  const child = await fixture.processes.spawn(
    shell(`[ -e ${flag} ] && sleep 0.1 && exit 0; : > ${flag}; echo ready; exec sleep 600`, {
      ready: { line: /ready/ },
      restart: { when: 'on-failure', crashLimit: 3 },
    }),
  );
  child.kill('SIGKILL');
  for (let restart = 0; restart < 2; restart += 1) {
    await until(() => child.state === 'backoff' && child.restarts === restart);
    clock.advance(30_000);
  }
  await child.exited;
  expect([child.state, child.restarts]).toEqual(['crash-loop', 2]);
});

test('a child that is told to end while it waits to be started again stays down', async () => {
  const clock = fakeClock();
  await fixture[Symbol.asyncDispose]();
  fixture = processFixture({ clock });
  const child = await fixture.processes.spawn({ ...sleeper, restart: { when: 'always' } });
  child.kill('SIGKILL');
  await until(() => child.state === 'backoff');
  await child.stop();
  expect(child.state).toBe('exited');
  expect(clock.pending).toBe(0);
});

// ---- reload ---------------------------------------------------------------------------------------------------------------

type Instance = Pick<ProcessFixture, 'scope' | 'processes'>;

async function reload(): Promise<Instance> {
  fixture.table.park(PLUGIN);
  await fixture.scope.close();
  const scope = new Scope(PLUGIN);
  return { scope, processes: fixture.table.supervisor(PLUGIN, scope) };
}

test('a child that the new code claims goes on, with the settings of the new code', async () => {
  const asked: string[] = [];
  const old = await fixture.processes.spawn({ ...sleeper, ask: () => void asked.push('old') });
  const next = await reload();
  expect(old.state).toBe('ready');
  const child = await next.processes.spawn({
    ...sleeper,
    ask: (it) => {
      asked.push('new');
      it.kill('SIGTERM');
    },
  });
  expect(child.pid).toBe(old.pid);
  expect(child).not.toBe(old);
  expect(await fixture.table.sweep(PLUGIN)).toEqual([]);
  expect(next.scope.labels).toEqual(['process child']);
  await next.scope.close();
  expect(asked).toEqual(['new']);
  expect(child.state).toBe('exited');
  expect(fixture.events.filter(({ topic }) => topic === 'process:started')).toHaveLength(1);
});

test('what the new code does not claim is stopped', async () => {
  const kept = await fixture.processes.spawn({ ...sleeper, key: 'kept' });
  const dropped = await fixture.processes.spawn({ ...sleeper, key: 'dropped' });
  const next = await reload();
  await next.processes.spawn({ ...sleeper, key: 'kept' });
  expect(await fixture.table.sweep(PLUGIN)).toEqual(['dropped']);
  expect(kept.pid).toBeDefined();
  expect(dropped.pid).toBeUndefined();
  await next.scope.close();
});

test('a reload that is rolled back gives the child back', async () => {
  const { pid } = await fixture.processes.spawn(sleeper);
  const failing = await reload();
  await failing.processes.spawn(sleeper);
  fixture.table.park(PLUGIN);
  await failing.scope.close();
  const scope = new Scope(PLUGIN);
  const child = await fixture.table.supervisor(PLUGIN, scope).spawn(sleeper);
  await fixture.table.sweep(PLUGIN);
  expect(child.pid).toBe(pid);
  await scope.close();
});

test('a pipe is handed on without losing a byte', async () => {
  const request = shell('while read -r line; do echo "got $line"; done', { stdio: 'pipe' });
  const old = await fixture.processes.spawn(request);
  const heard: string[] = [];
  old.stdout?.on('data', (chunk: Buffer) => heard.push(`old ${chunk}`));
  const oldStdin = old.stdin;
  oldStdin?.write('1\n');
  await until(() => heard.length === 1);
  const next = await reload();
  const refused = new Promise<unknown>((resolve) => oldStdin?.write('late\n', resolve));
  expect(await refused).toMatchObject({ message: expect.stringContaining('newer instance') });
  expect(old.stdin).toBeUndefined();
  const child = await next.processes.spawn(request);
  child.stdin?.write('2\n');
  child.stdout?.on('data', (chunk: Buffer) => heard.push(`new ${chunk}`));
  await until(() => heard.length === 2);
  child.stdin?.write('3\n');
  await until(() => heard.length === 3);
  expect(heard).toEqual(['old got 1\n', 'new got 2\n', 'new got 3\n']);
  await next.scope.close();
});

test('nothing of the old code is kept by a child that lives through many reloads', async () => {
  // In a function of its own, so that no variable of the last round is kept by this one.
  const liveOnce = async ({ scope, processes }: Instance): Promise<WeakRef<object>> => {
    const code = { weight: new Uint8Array(1000) };
    const child = await processes.spawn({ ...sleeper, stdio: 'pipe', ask: () => void code });
    void child.exited.then(() => code);
    child.stdout?.on('data', () => code);
    child.stdin?.on('drain', () => code);
    fixture.table.park(PLUGIN);
    await scope.close();
    return new WeakRef(code);
  };
  const gone = [await liveOnce(fixture)];
  while (gone.length < 50) {
    const scope = new Scope(PLUGIN);
    gone.push(await liveOnce({ scope, processes: fixture.table.supervisor(PLUGIN, scope) }));
  }
  await until(async () => {
    globalThis.gc?.();
    await new Promise(setImmediate);
    return gone.every((ref) => ref.deref() === undefined);
  });
  await fixture.table.sweep(PLUGIN);
});
