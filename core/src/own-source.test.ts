import { expect, test } from 'vitest';
import { withOwnSource } from './own-source.ts';

type Join = (...args: readonly unknown[]) => string;

function makeJoin(prefix: string, join: Join): Join {
  return (...args) => `${prefix} ${join(...args)}`;
}

test('a copy does what the original does, with as many parameters as it is to have', () => {
  const copy = withOwnSource(makeJoin, 3)('got', (...parts) => parts.join('+'));
  expect(copy('a', 'b', 'c')).toBe('got a+b+c');
  expect(copy).toHaveLength(3);
  expect(withOwnSource(makeJoin, 0)('got', () => 'nothing')()).toBe('got nothing');
});

test('copies that nobody uses any more are freed', async () => {
  const copies = Array.from({ length: 100 }, () => new WeakRef(withOwnSource(makeJoin, 1)('got', String)));
  expect(copies[0]?.deref()?.(1)).toBe('got 1');
  let left = copies.length;
  // V8 keeps code that ran a moment ago for some collections more.
  for (let round = 0; left > 0 && round < 50; round++) {
    await new Promise((resolve) => setImmediate(resolve));
    globalThis.gc?.();
    left = copies.filter((copy) => copy.deref() !== undefined).length;
  }
  expect(left).toBe(0);
});
