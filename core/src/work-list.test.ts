import { expect, test } from 'vitest';
import { flush } from './test-programs/fake-clock.ts';
import { WorkList } from './work-list.ts';

test('is idle when all work is done, also what came meanwhile, and however it ended', async () => {
  const list = new WorkList();
  await list.idle();
  const first = Promise.withResolvers<void>();
  const second = Promise.withResolvers<void>();
  const tracked = list.add('first', first.promise);
  expect(tracked).toBe(first.promise);
  tracked.then(() => list.add('second', second.promise)).catch(() => {});
  let idle = false;
  const waiting = list.idle().then(() => {
    idle = true;
  });
  expect(list.labels).toEqual(['first']);
  first.resolve();
  await flush();
  expect([list.labels, idle]).toEqual([['second'], false]);
  second.promise.catch(() => {});
  second.reject(new Error('its own business'));
  await waiting;
  expect(list.labels).toEqual([]);
});

test('leaves a failure to whoever asked for the work', async () => {
  const list = new WorkList();
  const failing = list.add('failing', Promise.reject(new Error('no')));
  await list.idle();
  await expect(failing).rejects.toThrow('no');
});
