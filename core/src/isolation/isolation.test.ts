// One suite for both levels of isolation: the same plugin code, the same answers.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CommandIo } from '../commands.ts';
import { isRuntimeError } from '../errors.ts';
import { createLogger } from '../logging.ts';
import { createRuntime } from '../runtime.ts';
import type { Isolation, Runtime, RuntimeOptions } from '../runtime-types.ts';
import { instant, type Lab, lab, question, veto } from '../test-programs/lab/contract.ts';
import { foundLab, toolbox } from '../test-programs/lab/found.ts';
import labPlugin from '../test-programs/lab/index.ts';
import type { TraceRecord } from '../tracing.ts';

let runtime: Runtime;
let folder: string;
const logged: string[] = [];

/** Waits for a condition; the time-out of the test is the limit. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setImmediate();
}

async function start(isolation: Isolation, config: object = {}, options: RuntimeOptions = {}): Promise<Lab> {
  const log = createLogger({ level: 'debug', destination: { write: (line: string) => void logged.push(line) } });
  runtime = createRuntime({ log, stateDirectory: folder, ...options }).use(toolbox);
  const settings = { isolation, config };
  if (isolation === 'process') runtime.use(foundLab(), settings);
  else runtime.use(labPlugin, settings);
  await runtime.start();
  return runtime.get(lab);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'isolation-'));
  logged.length = 0;
});
afterEach(async () => {
  await runtime.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe.each<Isolation>(['in-process', 'process'])('a plugin %s', (isolation) => {
  const isApart = isolation === 'process';

  it('serves calls, with all that values can hold', async () => {
    const l = await start(isolation);
    const value = {
      big: 2n ** 80n,
      bytes: new Uint8Array([1, 2]),
      map: new Map([[1, new Set(['x'])]]),
      at: new Date(5),
    };
    expect(await l.echo(value)).toEqual(value);
    expect(await l.echo(undefined)).toBeUndefined();
    expect(await l.caller()).toBe('runtime');
    expect((await l.pid()) === process.pid).toBe(!isApart);
    await expect((l as unknown as { nothing(): Promise<void> }).nothing()).rejects.toMatchObject({
      code: 'CORE_ERR_SERVICE_METHOD',
    });
  });

  it('fails with code, remedy and causes', async () => {
    const l = await start(isolation);
    const error: unknown = await l.fail().catch((e: unknown) => e);
    if (!isRuntimeError(error, 'LAB_ERR_BROKEN')) throw error;
    expect(error).toMatchObject({
      message: 'the beaker is broken',
      remedy: 'Mend the beaker.',
      grpc: 14,
      exit: 9,
      retryable: true,
      plugin: 'lab',
    });
    expect(error.cause).toMatchObject({
      message: 'both',
      errors: [{ message: 'inner one' }, { message: 'inner two' }],
    });
    await expect(l.throwNow()).rejects.toMatchObject({ message: 'thrown before any promise' });
  });

  it('calls other services, in its own name', async () => {
    const l = await start(isolation);
    expect(await l.callTools(21n)).toEqual([42n, 'lab']);
    expect(await l.callToolsFail()).toBe('CORE_ERR_PERMISSION');
    expect(await l.hasNobody()).toBe(false);
  });

  it('hears and emits events, in order', async () => {
    const seen: unknown[] = [];
    const l = await start(isolation);
    using _listener = runtime.events.on('lab:out', (data, { source }) => void seen.push([data, source]));
    for (let i = 0; i < 50; i++) runtime.events.emit('lab:in', i);
    expect(await l.heard()).toEqual(Array.from({ length: 50 }, (_, i) => [i, 'runtime', true]));
    for (let i = 0; i < 50; i++) void l.emit(i);
    await until(() => seen.length === 50);
    expect(seen).toEqual(Array.from({ length: 50 }, (_, i) => [i, 'lab']));
    expect(await l.history()).toEqual(Array.from({ length: 16 }, (_, i) => i + 34));
    const wanted = l.next();
    await l.caller();
    runtime.events.emit('lab:in', 'other');
    runtime.events.emit('lab:in', 'wanted');
    expect(await wanted).toBe('wanted');
    expect(await l.nextWithin(10)).toBe('CORE_ERR_EVENT_TIMEOUT');
  });

  it('whose listener fails is told on', async () => {
    await start(isolation);
    const failed: unknown[] = [];
    using _listener = runtime.events.on('core:listener-error', ({ event, plugin, error }) => {
      failed.push([event, plugin, (error as Error).message]);
    });
    runtime.events.emit('lab:in', 'throw');
    runtime.events.emit('lab:in', 'reject');
    await until(() => failed.length === 2);
    expect(failed).toEqual([
      ['lab:in', 'lab', 'listener says no'],
      ['lab:in', 'lab', 'listener says no later'],
    ]);
  });

  it('taps and calls hooks', async () => {
    const l = await start(isolation, { greeting: 'moin' });
    runtime.hooks.tap(question, (asked) => ({ ...asked, answers: [...asked.answers, 'runtime'] }), { stage: 10 });
    expect(await runtime.hooks.call(question, { text: 'hm', answers: [] })).toEqual({
      text: 'hm',
      answers: ['moin', 'runtime'],
    });
    expect(await l.ask('hm')).toEqual({ text: 'hm', answers: ['moin', 'runtime'] });
    expect(await runtime.hooks.call(veto, 'good')).toBeUndefined();
    expect(await l.askVeto('bad')).toBe('lab forbids it');
    await expect(runtime.hooks.call(veto, 'throw')).rejects.toMatchObject({
      code: 'CORE_ERR_TAP_FAILED',
      cause: expect.objectContaining({ code: 'LAB_ERR_BROKEN' }),
    });
    runtime.hooks.tap(instant, (n) => n * 3);
    expect(await l.askInstant(4)).toBe(12);
    expect(await l.tapInstant()).toBe(isApart ? 'CORE_ERR_HOOK_REMOTE' : 'no error');
  });

  it('leases synchronously, all or nothing, and gives back', async () => {
    const l = await start(isolation);
    expect(await l.lease('a')).toBe(2n);
    expect(await l.lease('b')).toBe(3n);
    await expect(l.lease('b')).rejects.toMatchObject({ code: 'CORE_ERR_LEASE_DUPLICATE' });
    await expect(l.lease('c')).rejects.toMatchObject({
      code: 'CORE_ERR_POOL_EXHAUSTED',
      message: expect.stringContaining('lab (3)'),
    });
    await expect(l.leaseTwo('c', 'mem')).rejects.toMatchObject({ code: 'CORE_ERR_POOL_EXHAUSTED' });
    expect(await l.release('a')).toBe('released');
    expect(await l.leaseTwo('c', 'mem')).toEqual([
      { pool: 'lab-slots', key: 'c', owner: 'lab', value: 2n, state: 'held' },
      { pool: 'lab-memory', key: 'mem', owner: 'lab', value: 60n, state: 'held' },
    ]);
    expect(
      runtime
        .inspect()
        .leases.map(({ key }) => key)
        .sort(),
    ).toEqual(['always', 'b', 'c', 'mem']);
  });

  it('checks its configuration with its own schema', async () => {
    const l = await start(isolation, { greeting: 'hej' });
    expect(await l.config()).toBe('hej');
    await runtime.stop();
    await expect(start(isolation, { greting: 'hej' })).rejects.toMatchObject({
      code: 'CORE_ERR_CONFIG',
      message: expect.stringContaining('greting'),
    });
  });

  it('hands its state and its leases over at a reload', async () => {
    const l = await start(isolation);
    expect(await l.previous()).toBeUndefined();
    await l.count();
    await l.count();
    const before = await l.pid();
    const report = await runtime.reload('lab', isApart ? undefined : labPlugin);
    expect(report).toMatchObject({ outcome: 'swapped' });
    expect(await l.count()).toBe(3);
    expect(await l.previous()).toEqual({
      schema: 2,
      state: { count: 2, since: new Date(1e12) },
      fromVersion: expect.any(String),
    });
    expect((await l.pid()) !== before).toBe(isApart);
    expect(runtime.inspect().leases).toMatchObject([{ key: 'always', value: 1n, state: 'held' }]);
    expect(runtime.inspect().hooks.find(({ hook }) => hook === 'lab/question')?.taps).toHaveLength(1);
    expect(runtime.inspect().processes).toHaveLength(isApart ? 1 : 0);
  });

  it('keeps its old instance when its state does not fit', async () => {
    const l = await start(isolation);
    for (let i = 0; i < 1001; i++) await l.count();
    const before = await l.pid();
    const report = await runtime.reload('lab', isApart ? undefined : labPlugin);
    expect(report).toMatchObject({ outcome: 'kept-old', error: { code: 'CORE_ERR_RELOAD_STATE' } });
    expect(await l.count()).toBe(1002);
    expect(await l.pid()).toBe(before);
  });

  it('adds commands that work the terminal', async () => {
    await start(isolation);
    const written: unknown[] = [];
    const io: CommandIo = {
      terminal: { isTTY: true, columns: 99, rows: 9 },
      cwd: '/somewhere',
      out: async (line) => void written.push(`out ${line}`),
      err: async (line) => void written.push(`err ${line}`),
      write: async (bytes) => void written.push(Buffer.from(bytes).toString()),
      writeErr: async (bytes) => void written.push(`err ${Buffer.from(bytes)}`),
      data: async (value) => void written.push(value),
      progress: async (stage, fraction) => void written.push([stage, fraction]),
      raw: async (on) => void written.push({ raw: on }),
      resizes: (async function* () {
        yield { columns: 100, rows: 10 };
      })(),
      input: (async function* () {
        yield new Uint8Array([104, 105]);
        yield new Uint8Array([33]);
      })(),
    };
    const invocation = { args: ['you'], options: { loud: true } as never, io, signal: new AbortController().signal };
    expect(await runtime.commands.run('lab greet', invocation)).toBe(4);
    expect(written).toEqual([
      ['greeting', 0.5],
      'out hello you true /somewhere 99',
      'err careful',
      { big: 2n ** 70n },
      'hi',
      '!',
      'err 100x10',
    ]);
    const abort = new AbortController();
    const running = runtime.commands.run('lab greet', { ...invocation, args: ['forever'], signal: abort.signal });
    await until(() => written.includes('out hello forever true /somewhere 99'));
    abort.abort();
    expect(await running).toBe(130);
  });

  it('adds checks', async () => {
    await start(isolation);
    expect(await runtime.doctor()).toEqual([
      { name: 'bench is clean', plugin: 'lab', status: 'warn', found: 'dust', remedy: 'Sweep.' },
    ]);
  });

  it('keeps documents', async () => {
    const l = await start(isolation);
    expect(await l.document({ a: [1] })).toEqual([{ a: [1] }, ['notes']]);
  });

  it('starts and ends child processes', async () => {
    const l = await start(isolation);
    const child = await l.startChild();
    expect(child).toMatchObject({ state: 'ready', log: ['child speaks'], kinds: ['test'] });
    expect(runtime.inspect().processes.find(({ key }) => key === 'child')).toMatchObject({
      plugin: 'lab',
      pid: child.pid,
    });
    expect(await l.stopChild()).toEqual([true, { code: null, signal: 'SIGKILL' }]);
  });

  it('shows up in traces with causes and labels', async () => {
    const l = await start(isolation);
    const records: TraceRecord[] = [];
    using _trace = runtime.tracer.subscribe((record) => void records.push(record));
    // The process learns with the next ping that somebody listens.
    await until(() => {
      void l.traced();
      return records.some(({ name, phase }) => name === 'outer' && phase === 'end');
    });
    const of = (name: string): TraceRecord | undefined => records.find((record) => record.name === name);
    expect(of('inner')).toMatchObject({
      plugin: 'lab',
      cause: of('outer')?.id,
      labels: { vm: 'penguin' },
      detail: { n: 1 },
    });
    const double = records.find(({ name, cause }) => name === 'tools.double' && cause === of('outer')?.id);
    expect(double).toMatchObject({ plugin: 'lab', labels: { vm: 'penguin' } });
    const call = records.find(({ id }) => id === of('outer')?.cause);
    expect(call).toMatchObject({ name: 'lab.traced', plugin: 'runtime' });
  });

  it('is waited for while work is tracked', async () => {
    const l = await start(isolation);
    await l.track();
    const reload = runtime.reload('lab', isApart ? undefined : labPlugin);
    const busy = (): readonly string[] => runtime.inspect().plugins.find(({ name }) => name === 'lab')?.busy ?? [];
    expect(busy()).toContain('long work');
    let settled = false;
    void reload.then(() => {
      settled = true;
    });
    await until(() => runtime.pluginState('lab') === 'quiescing');
    for (let i = 0; i < 100; i++) await setImmediate();
    expect(settled).toBe(false);
    runtime.events.emit('lab:in', 'finish');
    expect((await reload).outcome).toBe('swapped');
  });

  it('writes to the log of the runtime', async () => {
    const l = await start(isolation);
    await l.log();
    await l.caller();
    const lines = logged.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines.find(({ msg }) => msg === 'from the lab')).toMatchObject({
      plugin: 'lab',
      bound: 1,
      err: { message: 'logged' },
    });
    expect(lines.find(({ msg }) => msg === 'plain')).toMatchObject({ plugin: 'lab' });
  });

  it('says goodbye when the runtime stops', async () => {
    await start(isolation);
    const seen: unknown[] = [];
    runtime.events.on('lab:out', (data) => void seen.push(data));
    await runtime.stop();
    expect(seen).toContain('disposed: stop');
  });
});

describe('what cannot cross', () => {
  it('is refused with a code', async () => {
    const l = await start('process');
    await expect(l.echo(() => 1)).rejects.toMatchObject({ code: 'CORE_ERR_WIRE_VALUE' });
    await expect(l.self()).rejects.toMatchObject({
      code: 'CORE_ERR_WIRE_VALUE',
      message: expect.stringContaining('fn is a function'),
    });
    await expect(l.echo('x'.repeat(5_000_000))).rejects.toMatchObject({ code: 'CORE_ERR_WIRE' });
    expect(await l.spawnWithFds()).toBe('CORE_ERR_HOST_UNSUPPORTED');
    expect(await l.keep()).toBe('CORE_ERR_HOST_UNSUPPORTED');
    expect(await l.caller()).toBe('runtime');
    await runtime.stop();
    await expect(start('process', { tapInstant: true })).rejects.toMatchObject({
      code: 'CORE_ERR_HOOK_REMOTE',
    });
  });
});
