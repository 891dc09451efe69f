import { expect, test } from 'vitest';
import { fillRandom } from './random.ts';

test('fills all of it, and never twice with the same', () => {
  const [one, other] = [new Uint8Array(1000), new Uint8Array(1000)];
  fillRandom(one);
  fillRandom(other);
  expect(one).not.toEqual(other);
  // All 32 zero by chance: once in 2^256 times.
  expect(one.subarray(-32).some((byte) => byte !== 0)).toBe(true);
});
