import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { bootId, identify, isAlive, parseStat, readStat, ticksNow } from './identity.ts';

test('a name with blanks and parentheses does not shift the fields', () => {
  const rest = 'S 1 4 5 0 -1 4194304 100 0 0 0 0 0 0 0 20 0 1 0 197190 3133440';
  expect(parseStat(`77 (a) b) (c) ${rest}`)).toEqual({
    pid: 77,
    state: 'S',
    ppid: 1,
    pgrp: 4,
    session: 5,
    start: 197190,
  });
});

test.each(['', '12', '12 (cut) S 1 2', 'x (y) S 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 9'])(
  '%j is no stat line',
  (text) => {
    expect(parseStat(text)).toBeUndefined();
  },
);

test('this process is itself, and is not its namesake of another time or boot', () => {
  const self = identify('self');
  if (self === undefined) throw new Error('no /proc/self');
  expect(self.pid).toBe(process.pid);
  expect(isAlive(self)).toBe(true);
  expect(isAlive({ ...self, start: self.start - 1 })).toBe(false);
  expect(isAlive({ ...self, boot: 'an earlier boot' })).toBe(false);
  expect(bootId()).toMatch(/^[0-9a-f-]{36}$/);
});

test('a process that ended is not alive', async () => {
  const child = spawn('/bin/sleep', ['60']);
  const it = identify(child.pid ?? 0);
  if (it === undefined) throw new Error('no child');
  expect(isAlive(it)).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(isAlive(it)).toBe(false);
  expect(readStat(it.pid)).toBeUndefined();
});

test('whatever has started did so no later than now', async () => {
  for (let n = 0; n < 50; n += 1) {
    const child = spawn('/bin/true');
    const start = identify(child.pid ?? 0)?.start ?? Number.NaN;
    const now = ticksNow();
    expect(start).toBeLessThanOrEqual(now);
    expect(now - start).toBeLessThan(1000);
    await once(child, 'exit');
  }
});
