import { FakeClock } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { watchClock } from './clock-watch.ts';

test('a jump of the time is told once, whichever way it goes', () => {
  const clock = new FakeClock();
  const jumps: number[] = [];
  let ahead = 0;
  using _watch = watchClock({ clock, onJump: (ms) => jumps.push(ms), realtime: () => 1e12 + clock.now() + ahead });
  clock.advance(60_000);
  expect(jumps).toEqual([]);
  // Suspended for an hour: the monotonic clock stood still.
  ahead = 3_600_000;
  clock.advance(4_999);
  expect(jumps).toEqual([]);
  clock.advance(60_000);
  expect(jumps).toEqual([3_600_000]);
  ahead -= 7_000;
  clock.advance(5_000);
  expect(jumps).toEqual([3_600_000, -7_000]);
});

test('what is set right little by little is told when it amounts to something', () => {
  const clock = new FakeClock();
  const jumps: number[] = [];
  using watch = watchClock({ clock, onJump: (ms) => jumps.push(ms), realtime: () => 1.001 * clock.now() });
  clock.advance(900_000);
  expect(jumps).toEqual([]);
  clock.advance(120_000);
  expect(jumps).toHaveLength(1);
  watch[Symbol.dispose]();
  expect(clock.pending).toBe(0);
});
