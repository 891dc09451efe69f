import { expect, it } from 'vitest';
import { Latest } from './latest.ts';

it('gives what was set last, waits for more, and ends', async () => {
  const latest = new Latest<number>();
  const reader = latest[Symbol.asyncIterator]();
  latest.set(1);
  latest.set(2);
  expect(await reader.next()).toEqual({ done: false, value: 2 });
  const waiting = reader.next();
  latest.set(3);
  expect(await waiting).toEqual({ done: false, value: 3 });
  latest.set(4);
  latest.end();
  latest.set(5);
  expect(await reader.next()).toEqual({ done: false, value: 4 });
  expect(await reader.next()).toEqual({ done: true, value: undefined });
});
