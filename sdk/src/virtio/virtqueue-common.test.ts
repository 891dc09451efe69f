import { closeSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { drainEventfd, eventfd } from '../linux/eventfd.ts';
import { CompletionOrder, eventDue, Interrupter } from './virtqueue-common.ts';

describe('whether an event is due', () => {
  test.each([
    // event, now, before
    ['the entry that was asked for was published', 5, 6, 5, true],
    ['it was one of several', 5, 9, 3, true],
    ['it is the next one to come', 6, 6, 5, false],
    ['it was published earlier', 4, 6, 5, false],
    ['nothing was published', 5, 5, 5, false],
    ['over the wrap, the last one before it', 0xffff, 1, 0xfffe, true],
    ['over the wrap, the first one after it', 0, 1, 0xfffe, true],
    ['over the wrap, the next one to come', 1, 1, 0xfffe, false],
    ['over the wrap, an earlier one', 0xfffd, 1, 0xfffe, false],
  ])('%s', (_why, event, now, before, due) => {
    expect(eventDue(event, now, before)).toBe(due);
  });

  test('is whether it is among the entries published since', () => {
    const at = fc.integer({ min: 0, max: 0xffff });
    fc.assert(
      fc.property(at, fc.nat({ max: 300 }), at, (before, count, event) => {
        let among = false;
        for (let i = 0; i < count; i += 1) if (((before + i) & 0xffff) === event) among = true;
        expect(eventDue(event, (before + count) & 0xffff, before)).toBe(among);
      }),
    );
  });
});

test('completions come out in the order in which chains were taken', () => {
  const order = new CompletionOrder(4);
  const out: number[] = [];
  const drain = (): void => {
    for (let token = order.next(); token >= 0; token = order.next()) out.push(token, order.written(token));
  };
  for (let lap = 0; lap < 3; lap += 1) {
    out.length = 0;
    for (const token of [2, 0, 3, 1]) order.taken(token);
    order.done(3, 33);
    order.done(0, 7);
    drain();
    expect(out).toEqual([]);
    order.done(2, 22);
    drain();
    expect(out).toEqual([2, 22, 0, 7, 3, 33]);
    order.done(1, 0);
    drain();
    expect(out.slice(6)).toEqual([1, 0]);
  }
});

test('an interrupt that cannot be sent is owed', () => {
  const fd = eventfd();
  const stats = { popped: 0, pushed: 0, refused: 0, interrupts: 0, suppressed: 0 };
  const interrupter = new Interrupter(-1, false, stats);
  expect(interrupter.send()).toBe(false);
  interrupter.setFd(-1);
  interrupter.setFd(fd);
  expect(drainEventfd(fd)).toBe(true);
  interrupter.setFd(fd);
  expect(drainEventfd(fd)).toBe(false);
  expect(stats.interrupts).toBe(1);
  closeSync(fd);
});
