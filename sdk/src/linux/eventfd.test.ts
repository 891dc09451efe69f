import { execFileSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { isNonBlocking, setNonBlocking } from './descriptor-flags.ts';
import { drainEventfd, eventfd, signalEventfd } from './eventfd.ts';
import { POLL, pollFds, pollOne, waitReadable } from './poll.ts';
import { socketPair } from './unix-socket.ts';
import { watch } from './watch.ts';

test('a counter is signalled and drained', () => {
  const fd = eventfd(2);
  expect([drainEventfd(fd), drainEventfd(fd)]).toEqual([true, false]);
  for (let i = 0; i < 3; i++) signalEventfd(fd);
  expect([drainEventfd(fd), drainEventfd(fd)]).toEqual([true, false]);
  closeSync(fd);
  expect(drainEventfd(fd)).toBe(false);
  expect(() => signalEventfd(fd)).not.toThrow();
});

test('a semaphore counts down', () => {
  const fd = eventfd(2, { semaphore: true });
  expect([drainEventfd(fd), drainEventfd(fd), drainEventfd(fd)]).toEqual([true, true, false]);
  closeSync(fd);
});

test('one that blocks is drained without blocking, and left as it is', () => {
  const fd = eventfd();
  setNonBlocking(fd, false);
  expect(drainEventfd(fd)).toBe(false);
  signalEventfd(fd);
  expect([drainEventfd(fd), drainEventfd(fd), isNonBlocking(fd)]).toEqual([true, false, false]);
  closeSync(fd);
});

test('poll tells what is ready', () => {
  const quiet = eventfd();
  const loud = eventfd(1);
  expect(waitReadable(Int32Array.of(quiet, loud), 1000)).toBe(1);
  expect(waitReadable(Int32Array.of(quiet), 0)).toBe(-1);
  expect(pollOne(quiet, 'writable', 0)).toBe(true);
  const fds = [quiet, loud].map((fd) => ({ fd, events: POLL.in | POLL.out }));
  expect(pollFds(fds, 0)).toEqual([POLL.out, POLL.in | POLL.out]);
  closeSync(quiet);
  closeSync(loud);
  expect(pollFds([{ fd: loud, events: POLL.in }], 0)).toEqual([POLL.nval]);
});

test('a watch tells again and again, changes its interest, and ends', async () => {
  const fd = eventfd();
  const seen: string[] = [];
  const watching = watch(fd, { readable: true }, ({ readable, writable, hangup }) => {
    seen.push(`${readable} ${writable} ${hangup}`);
    drainEventfd(fd);
    if (writable) watching.setInterest({});
  });
  for (let i = 1; i <= 3; i++) {
    signalEventfd(fd);
    await vi.waitFor(() => expect(seen).toHaveLength(i));
  }
  watching.setInterest({ readable: true, writable: true });
  await vi.waitFor(() => expect(seen).toHaveLength(4));
  signalEventfd(fd);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(seen).toEqual(['true false false', 'true false false', 'true false false', 'false true false']);
  watching[Symbol.dispose]();
  watching[Symbol.dispose]();
  watching.ref().unref().setInterest({ readable: true });
  watch(fd, { readable: true }, () => {})[Symbol.dispose]();
  closeSync(fd);
});

test('a peer that has gone is told as such', async () => {
  const [here, there] = socketPair('stream');
  const told = new Promise<unknown>((resolve) => {
    const watching = watch(here, { readable: true }, (ready) => {
      watching[Symbol.dispose]();
      resolve(ready);
    });
  });
  closeSync(there);
  expect(await told).toMatchObject({ readable: true, hangup: true });
  closeSync(here);
});

test('what libuv would end the process for is an error', () => {
  const fd = eventfd();
  const watching = watch(fd, { readable: true }, () => {});
  expect(() => watch(fd, { readable: true }, () => {})).toThrow(
    `descriptor ${fd} cannot be watched: it is watched already`,
  );
  watching[Symbol.dispose]();
  closeSync(fd);
  expect(() => watch(fd, { readable: true }, () => {})).toThrow('it is not open (EBADF)');
  expect(() => watch(-1, { readable: true }, () => {})).toThrow('it is no descriptor');
});

test('a watch that nothing refers to goes on after the garbage was collected, and its exceptions are not lost', () => {
  const program = join(import.meta.dirname, 'test-programs', 'forgotten-watch.ts');
  const output = execFileSync(process.execPath, ['--expose-gc', '--conditions=@runtime/source', program], {
    encoding: 'utf8',
  });
  expect(JSON.parse(output)).toEqual({ told: 20, uncaught: 'thrown by the callback' });
});
