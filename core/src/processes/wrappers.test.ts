import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { quietLog } from '../test-programs/quiet-log.ts';
import { createPlan } from './plan.ts';
import { DeathSignal, findTool, GATE_LINE, GATE_SHUT, type Wrapped, wrap } from './wrappers.ts';

const plan = createPlan({ key: 'k', kind: 'test', argv: ['/bin/echo', 'ran', 'a b', '$HOME', '-n'] }, 'demo', 'c');

function start(wrapped: Wrapped): ChildProcess {
  const [file, ...args] = wrapped.argv;
  return spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...plan.env } });
}

async function outcome(child: ChildProcess): Promise<{ readonly code: number | null; readonly said: string }> {
  let said = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}

const setpriv = findTool('setpriv');
const base = { plan, file: '/bin/echo', setpriv, prlimit: undefined, keepStdin: false };

test.each([true, false])('the gate lets the program through, arguments untouched (tied: %s)', async (tied) => {
  const child = start(wrap({ ...base, tied }));
  child.stdin?.end(GATE_LINE);
  expect(await outcome(child)).toEqual({ code: 0, said: 'ran a b $HOME -n\n' });
});

test.each([true, false])('without the word of the runtime the program never starts (tied: %s)', async (tied) => {
  const child = start(wrap({ ...base, tied }));
  child.stdin?.end();
  expect(await outcome(child)).toEqual({ code: GATE_SHUT, said: '' });
});

test('a program whose runtime died before the signal was set never starts', async () => {
  // The gate is told the number of another runtime: as if this one were init, which took the child over.
  const wrapped = wrap({ ...base, tied: true });
  const argv = wrapped.argv.map((part) => (part === String(process.pid) ? '999999' : part));
  const child = start({ ...wrapped, argv: argv as unknown as Wrapped['argv'] });
  child.stdin?.end(GATE_LINE);
  expect(await outcome(child)).toEqual({ code: GATE_SHUT, said: '' });
});

test.each([
  ['is missing', () => undefined],
  ['cannot do it', () => '/bin/false'],
])('a setpriv that %s is said once', async (_what, find) => {
  const log = quietLog();
  const signal = new DeathSignal(log, find);
  expect(await Promise.all([signal.setpriv(), signal.setpriv()])).toEqual([undefined, undefined]);
  expect(log.lines.map(({ level }) => level)).toEqual(['warn']);
});

test('a setpriv that works is used', async () => {
  const log = quietLog();
  expect(await new DeathSignal(log).setpriv()).toBe(setpriv);
  expect(log.lines).toEqual([]);
});
