import { expect, test } from 'vitest';
import { fakeClock, flush } from '../test-programs/fake-clock.ts';
import { quietLog } from '../test-programs/quiet-log.ts';
import type { Incarnation } from './incarnation.ts';
import { climbDown } from './ladder.ts';

/** As one that is blocked in the kernel: signals are taken and do nothing. */
function fakeStuckProcess(): Incarnation & { readonly signals: readonly string[] } {
  const signals: string[] = [];
  return {
    identity: { pid: 4711, start: 1, boot: 'b' },
    ended: new Promise(() => {}),
    live: true,
    stdin: undefined,
    stdout: undefined,
    signal: () => true,
    signalGroup: async (signal) => void signals.push(signal),
    release: () => {},
    signals,
  };
}

test('a process that not even SIGKILL ends is named', async () => {
  const clock = fakeClock();
  const process = fakeStuckProcess();
  const rungs: string[] = [];
  const ended = climbDown({
    process,
    name: 'demo/disk',
    plugin: 'demo',
    ask: () => {},
    stopMs: { ask: 10, kill: 30 },
    clock,
    log: quietLog(),
    onRung: (rung) => rungs.push(`${rung} at ${clock.now()}`),
  });
  const failure = expect(ended).rejects.toMatchObject({
    code: 'CORE_ERR_PROCESS_STUCK',
    message: 'process demo/disk (pid 4711) is still there 30 ms after SIGKILL',
  });
  for (const ms of [10, 3000, 30]) {
    await flush();
    clock.advance(ms);
  }
  await failure;
  expect(rungs).toEqual(['ask at 0', 'term at 10', 'kill at 3010']);
  expect(process.signals).toEqual(['SIGTERM', 'SIGKILL']);
  expect(clock.pending).toBe(0);
});
