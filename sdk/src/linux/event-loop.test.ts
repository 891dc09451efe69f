import { closeSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eventLoopOf } from './event-loop.ts';
import { eventfd, signalEventfd } from './eventfd.ts';
import { pollOne } from './poll.ts';
import { watch } from './watch.ts';

test('is readable when something that is watched is', async () => {
  const fd = eventfd();
  expect(eventLoopOf(fd)).toBeUndefined();
  const watching = watch(fd, { readable: true }, () => {});
  await setImmediate();
  await setImmediate();
  const loop = eventLoopOf(fd) as number;
  expect(loop).toBeGreaterThan(2);
  expect(pollOne(loop, 'readable', 0)).toBe(false);
  signalEventfd(fd);
  expect(pollOne(loop, 'readable', 0)).toBe(true);
  watching[Symbol.dispose]();
  closeSync(fd);
});
