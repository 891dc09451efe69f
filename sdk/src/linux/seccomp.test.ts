import { expect, test } from 'vitest';
import { installSystemCallFilter } from './index.ts';

// What a filter does to a process that has one is tested with the compiler of policies, plugins/sandbox.
test.each([0, 12, 8 * 4097])('a filter of %i bytes is refused before the kernel is asked', (bytes) => {
  expect(() => installSystemCallFilter(new Uint8Array(bytes))).toThrow('1 to 4096 instructions');
});

test('a filter that the kernel refuses says so, and changes nothing', () => {
  // A single instruction that does not return.
  expect(() => installSystemCallFilter(new Uint8Array(8))).toThrow('EINVAL');
});
