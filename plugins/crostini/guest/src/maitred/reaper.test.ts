import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { peekEndedChild, reapChild, setChildSubreaper } from '@runtime/sdk/linux';
import { expect, test, vi } from 'vitest';
import { startReaper } from './reaper.ts';

test('orphans are reaped, and no end of a child is taken from whoever started it', async () => {
  // Orphans come to this process, as they come to the first one of a machine.
  setChildSubreaper(true);
  const reaped: number[] = [];
  const errors: unknown[] = [];
  const reap = (pid: number): boolean => {
    reaped.push(pid);
    return reapChild(pid);
  };
  using _reaper = startReaper({ peek: peekEndedChild, reap }, (e) => errors.push(e));
  const children: ChildProcess[] = [];
  for (let i = 0; i < 20; i++) children.push(spawn('sh', ['-c', `(sleep 0.0${i % 5} &) ; exit ${i}`]));
  const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0] as number));
  expect(codes).toEqual(Array.from({ length: 20 }, (_, i) => i));
  await vi.waitFor(() => expect(reaped.length).toBeGreaterThanOrEqual(20), { timeout: 10_000 });
  const own = new Set(children.map(({ pid }) => pid));
  expect(reaped.filter((pid) => own.has(pid))).toEqual([]);
  expect(errors).toEqual([]);
  setChildSubreaper(false);
});
