import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import type { NativeHost } from '../host.ts';
import { signalProcess } from './descendants.ts';
import { identify, isAlive } from './identity.ts';

test('a signal is for one process and not for the next of the same number', async () => {
  const child = spawn('/bin/sleep', ['600'], { stdio: 'ignore' });
  const identity = identify(child.pid ?? 0);
  if (identity === undefined) throw new Error('no child');
  const exit = once(child, 'exit');
  expect(signalProcess({ ...identity, start: identity.start - 1 }, 'SIGKILL', undefined)).toBe(false);
  expect(isAlive(identity)).toBe(true);
  expect(signalProcess(identity, 'SIGTERM', undefined)).toBe(true);
  expect(await exit).toEqual([null, 'SIGTERM']);
  expect(signalProcess(identity, 'SIGTERM', undefined)).toBe(false);
});

test('with a native host the descriptor is opened before the comparison, and the number is not used any more', () => {
  const steps: string[] = [];
  const native: NativeHost = {
    peerCredentials: () => ({ pid: 0, uid: 0, gid: 0 }),
    pidfdOpen: (pid) => {
      steps.push(`open ${pid}`);
      throw new Error('ESRCH');
    },
    pidfdSignal: () => true,
    onReadable: () => ({ [Symbol.dispose]: () => {} }),
    dieWithParent: () => {},
  };
  const self = identify('self');
  if (self === undefined) throw new Error('no self');
  expect(signalProcess(self, 'SIGCONT', native)).toBe(false);
  expect(steps).toEqual([`open ${self.pid}`]);
});
