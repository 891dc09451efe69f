// The core's supervised processes over real pidfds. They are tested with what /proc tells in the core itself.

import { closeSync, readdirSync, readlinkSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type ProcessFixture, processFixture, until } from '../../../core/src/test-programs/process-fixture.ts';
import { declare } from './call.ts';
import { linuxHost } from './index.ts';

const request = { key: 'vm', kind: 'test', argv: ['/bin/sh', '-c', 'sleep 600 & wait'], detached: true } as const;

let fixture: ProcessFixture;
beforeEach(() => {
  fixture = processFixture({ native: linuxHost });
});
afterEach(async () => {
  for (const child of fixture.processes.list()) await child.stop();
  await fixture[Symbol.asyncDispose]();
});

function pidfds(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[pidfd]';
    } catch {
      return false;
    }
  }).length;
}

async function adopted(): Promise<number> {
  const { pid } = await fixture.processes.spawn(request);
  await fixture.table.stopAll();
  fixture = fixture.again();
  await fixture.table.recover();
  expect(fixture.processes.list()).toMatchObject([{ pid, state: 'ready' }]);
  return pid ?? 0;
}

test('the end of an adopted child is told by its pidfd, at once and without a descriptor left', async () => {
  const before = pidfds();
  const pid = await adopted();
  expect(pidfds()).toBe(before + 1);
  process.kill(pid, 'SIGKILL');
  await until(() => fixture.events.some(({ topic }) => topic === 'process:exited'));
  await until(() => fixture.table.report().length === 0);
  expect(pidfds()).toBe(before);
});

test('an adopted child is signalled through its pidfd, with its group', async () => {
  const before = pidfds();
  await adopted();
  const child = await fixture.processes.spawn(request);
  expect(child.kill('SIGCONT')).toBe(true);
  expect(await child.stop()).toEqual({ code: null, signal: null });
  expect(child.kill('SIGCONT')).toBe(false);
  expect(pidfds()).toBe(before);
});

test('a runtime that stops lets the pidfd of a child go', async () => {
  const before = pidfds();
  await adopted();
  await fixture.table.stopAll();
  expect(pidfds()).toBe(before);
  fixture = fixture.again();
  await fixture.table.recover();
});

test('what the runtime was started with is not passed on', async () => {
  // dup(2) makes a descriptor without close-on-exec, as one that was inherited.
  const leaked = declare<[fd: number], number>('int dup(int fd)')(2);
  const child = await fixture.processes.spawn({ key: 'ls', kind: 'test', argv: ['/bin/ls', '/proc/self/fd'] });
  await child.exited;
  expect(child.log).toEqual(['0', '1', '2', '3']);
  closeSync(leaked);
});
