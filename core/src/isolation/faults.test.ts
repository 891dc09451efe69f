// What a plugin in its own process may do wrong, and who notices.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLogger } from '../logging.ts';
import { beforeSpawn } from '../processes/types.ts';
import { createRuntime } from '../runtime.ts';
import type { IsolationLimits, Runtime } from '../runtime-types.ts';
import { type Lab, lab, question, tools } from '../test-programs/lab/contract.ts';
import { foundAt, foundLab, toolbox } from '../test-programs/lab/found.ts';

let runtime: Runtime;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'faults-'));
  runtime = createRuntime({ log: createLogger({ level: 'silent' }) }).use(toolbox);
});
afterEach(async () => {
  await runtime.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function start(limits: IsolationLimits = {}, config: object = {}): Promise<Lab> {
  runtime.use(foundLab(), { isolation: 'process', limits, config });
  await runtime.start();
  return runtime.get(lab);
}

/** Waits for a condition; the time-out of the test is the limit. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(5);
}

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    (value) => value,
    (error: unknown) => (error as { code?: string }).code,
  );

/** Gone, or at least not running any more. */
const isGone = (pid: number): boolean => !existsSync(`/proc/${pid}`);

describe('a plugin process that crashes', () => {
  it('costs the calls under way, and is there again for the next', async () => {
    const l = await start();
    await l.count();
    const before = await l.pid();
    const slow = codeOf(l.slow());
    await expect(l.crash()).rejects.toMatchObject({
      code: 'CORE_ERR_HOST_GONE',
      message: expect.stringContaining('exit code 7'),
      retryable: true,
    });
    expect(await slow).toBe('CORE_ERR_HOST_GONE');
    // Waits for the new process.
    expect(await l.count()).toBe(1);
    expect(await l.pid()).not.toBe(before);
    expect(await runtime.get(tools).double(2n)).toBe(4n);
    expect(runtime.pluginState('lab')).toBe('ready');
  });

  it('gets its state of the last reload, its leases, and the events it missed', async () => {
    const l = await start();
    await l.count();
    await l.count();
    await runtime.reload('lab');
    expect(await l.lease('extra')).toBe(2n);
    const crashed = codeOf(l.crash());
    expect(await crashed).toBe('CORE_ERR_HOST_GONE');
    runtime.events.emit('lab:in', 'missed');
    const asked = runtime.hooks.call(question, { text: 'still there?', answers: [] });
    expect(await l.count()).toBe(3);
    expect(await l.heard()).toEqual([['missed', 'runtime', true]]);
    // A question asked meanwhile waits, since the answer might have been no.
    expect((await asked).answers).toEqual(['hello']);
    // What the new process did not ask for again is free, the rest is as it was.
    await until(() => runtime.inspect().leases.length === 1);
    expect(runtime.inspect().leases).toMatchObject([{ key: 'always', value: 1n, state: 'held' }]);
    expect(runtime.inspect().hooks.find(({ hook }) => hook === 'lab/question')?.taps).toHaveLength(1);
    expect(runtime.commands.list().map(({ name }) => name)).toEqual(['lab greet']);
    expect(await runtime.doctor()).toHaveLength(1);
  });

  it('again and again is given up, and comes back with a reload', async () => {
    const l = await start();
    for (let i = 0; i < 5; i++) expect(await codeOf(l.crash())).toBe('CORE_ERR_HOST_GONE');
    await expect(l.count()).rejects.toMatchObject({
      code: 'CORE_ERR_HOST_GONE',
      message: expect.stringContaining('not started again'),
    });
    expect(await runtime.reload('lab')).toMatchObject({ outcome: 'swapped' });
    expect(await l.count()).toBe(1);
  });

  it('while it is set up fails the start', async () => {
    await expect(start({}, { crashInSetup: true })).rejects.toMatchObject({
      code: 'CORE_ERR_HOST_GONE',
      message: expect.stringContaining('exit code 3'),
    });
    expect(runtime.inspect().processes).toEqual([]);
  });
});

describe('a plugin process that', () => {
  it('spins is ended, and harms nobody meanwhile', async () => {
    const l = await start({ unresponsiveMs: 300 });
    let ended = false;
    const spinning = codeOf(l.spin()).finally(() => {
      ended = true;
    });
    let doubled = 0;
    while (!ended) {
      expect(await runtime.get(tools).double(2n)).toBe(4n);
      doubled += 1;
      await setImmediate();
    }
    expect(await spinning).toBe('CORE_ERR_HOST_UNRESPONSIVE');
    expect(doubled).toBeGreaterThan(100);
    expect(await l.count()).toBe(1);
  });

  it('spins does not keep the runtime from stopping', async () => {
    const l = await start({ unresponsiveMs: 2_000 });
    const pid = await l.pid();
    const spinning = codeOf(l.spin());
    await runtime.stop();
    expect(await spinning).toBe('CORE_ERR_HOST_UNRESPONSIVE');
    await until(() => isGone(pid));
  }, 30_000);

  it('leaks objects dies of it alone', async () => {
    const l = await start({ memoryMb: 32 });
    await expect(l.leak()).rejects.toMatchObject({ code: 'CORE_ERR_HOST_GONE' });
    expect(await l.count()).toBe(1);
  }, 60_000);

  it('leaks buffers is ended', async () => {
    const l = await start({ memoryMb: 32, unresponsiveMs: 500 });
    await expect(l.leakBuffers()).rejects.toMatchObject({
      code: 'CORE_ERR_HOST_FLOOD',
      message: expect.stringMatching(/took \d+ MiB of memory, more than 288/),
    });
    expect(await l.count()).toBe(1);
  }, 60_000);

  it('floods is slowed down, and harms nobody meanwhile', async () => {
    const l = await start({ messagesPerSecond: 2_000 });
    let seen = 0;
    runtime.events.on('lab:out', () => {
      seen += 1;
    });
    const startedAt = performance.now();
    void l.flood().catch(() => {});
    await until(() => seen >= 4_000);
    // The messages of a second are for free, as are those of one chunk.
    expect(performance.now() - startedAt).toBeGreaterThan(200);
    expect(await runtime.get(tools).double(2n)).toBe(4n);
  }, 60_000);

  it.each([
    ['text that is no message', 'nonsense\n', 1],
    ['a message of no type', '{"t":"dance"}\n', 1],
    ['an answer that nobody asked for', '{"t":"done","id":999999,"v":1}\n', 1],
    ['a frame without end', 'x', 5 * 1024 * 1024],
    ['a number that cannot be', '{"t":"tell","m":"emit","a":[{"$t":"bigint","v":"x"}]}\n', 1],
  ])('sends %s is ended', async (_, text, times) => {
    const l = await start();
    const pid = await l.pid();
    const slow = codeOf(l.slow());
    void l.garbage(text, times).catch(() => {});
    expect(await slow).toBe('CORE_ERR_HOST_GONE');
    await until(() => isGone(pid));
    expect(await l.count()).toBe(1);
  });

  it.each([
    ['asks for what there is not', '{"t":"call","id":999999,"m":"constructor","a":[]}\n'],
    ['asks with wrong arguments', '{"t":"call","id":999999,"m":"service","a":[1,2]}\n'],
  ])('%s gets an error', async (_, text) => {
    const l = await start();
    // The answer to a call that its code never made ends the process, not the runtime.
    await codeOf(l.garbage(text, 1));
    expect(await codeOf(l.count())).toSatisfy((got) => got === 1 || got === 'CORE_ERR_HOST_GONE');
    expect(await runtime.get(tools).double(2n)).toBe(4n);
  });
});

describe('the process of a plugin', () => {
  it('is seen by process/before-spawn, and listed', async () => {
    const kinds: string[] = [];
    runtime.hooks.tap(beforeSpawn, (plan) => {
      kinds.push(`${plan.plugin} ${plan.kind}`);
      return plan;
    });
    await start();
    expect(kinds).toEqual(['lab plugin-host']);
    expect(runtime.inspect().processes).toMatchObject([{ plugin: 'lab', kind: 'plugin-host', state: 'ready' }]);
    expect(runtime.inspect().plugins.find(({ name }) => name === 'lab')).toMatchObject({ isolation: 'process' });
  });

  it.each(['calm', 'spin'])(
    'is gone when the runtime is killed (%s)',
    async (mood) => {
      const program = join(import.meta.dirname, '../test-programs/lab/host.ts');
      const child = spawn(process.execPath, ['--conditions=@runtime/source', program, mood], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [line] = (await new Promise<string[]>((resolve) => {
        createInterface(child.stdout).once('line', (text) => resolve([text]));
      })) as [string];
      const pid = Number(line);
      expect(isGone(pid)).toBe(false);
      child.kill('SIGKILL');
      await until(() => isGone(pid));
    },
    30_000,
  );

  it('is not started for code that does not load', async () => {
    const packageJson = { name: 'broken', version: '1.0.0', type: 'module', runtime: { plugin: 'broken', core: '*' } };
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), JSON.stringify(packageJson));
    for (const [code, expected] of [
      [
        'throw new Error("at import")',
        { code: 'CORE_ERR_PLUGIN_LOAD', cause: expect.objectContaining({ message: 'at import' }) },
      ],
      ['process.exit(6)', { code: 'CORE_ERR_HOST_GONE', message: expect.stringContaining('exit code 6') }],
      ['export default {}', { code: 'CORE_ERR_PLUGIN_INVALID' }],
    ] as const) {
      writeFileSync(join(folder, 'index.js'), code);
      const one = createRuntime({ log: createLogger({ level: 'silent' }) });
      one.use(foundAt(folder, 'index.js'), { isolation: 'process' });
      await expect(one.start()).rejects.toMatchObject(expected);
    }
  });
});
