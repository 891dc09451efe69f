import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { type LogItem, LogQueue } from './log-queue.ts';
import { LogShipper } from './log-shipper.ts';

const item = (text: string, kind: LogItem['kind'] = 'user'): LogItem => ({ kind, severity: 6, time: 1, text });

test('what waits goes in order, one kind at a time', () => {
  const queue = new LogQueue();
  for (const one of [item('a'), item('b'), item('c', 'kernel'), item('d')]) queue.push(one);
  const batches = [queue.take(0), queue.take(0), queue.take(0), queue.take(0)];
  expect(batches.map((batch) => batch?.items.map(({ text }) => text))).toEqual([['a', 'b'], ['c'], ['d'], undefined]);
});

test('a batch is bounded, and so is all that waits; what is lost is told', () => {
  const queue = new LogQueue();
  for (let i = 0; i < 1_000; i++) queue.push(item(`${i}${'x'.repeat(10_000)}`));
  let letters = 0;
  const texts: string[] = [];
  for (let batch = queue.take(0); batch !== undefined; batch = queue.take(0)) {
    const size = batch.items.reduce((sum, { text }) => sum + text.length, 0);
    expect(size).toBeLessThanOrEqual(128 * 1024);
    letters += size;
    texts.push(...batch.items.map(({ text }) => text));
  }
  expect(letters).toBeLessThanOrEqual(513 * 1024);
  expect(texts.at(-1)).toMatch(/^maitred: \d+ lines were dropped/);
  expect(Number(/\d+/.exec(texts.at(-1) ?? '')?.[0]) + texts.length - 1).toBe(1_000);
});

test('what the host does not take is sent again, in order', async () => {
  const queue = new LogQueue();
  const sent: string[] = [];
  let down = true;
  using shipper = new LogShipper({
    queue,
    everyMs: 5,
    send: async (_, items) => {
      await sleep(1);
      if (down) throw new Error('nobody is there');
      sent.push(...items.map(({ text }) => text));
    },
  });
  queue.push(item('a'));
  await sleep(30);
  queue.push(item('b'));
  down = false;
  await vi.waitFor(() => expect(sent).toEqual(['a', 'b']));
  queue.push(item('c'));
  await shipper.flush();
  expect(sent).toEqual(['a', 'b', 'c']);
});
