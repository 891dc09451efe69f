import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { DriverPace } from './driver-pace.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

function request(pace: DriverPace, afterMs: number): void {
  pace.ranOut();
  vi.advanceTimersByTime(afterMs);
  pace.ranOut();
  pace.requested();
}

const MOST = 7;

/** What `turns` turns waited for, of a driver that sends `depth` requests more without an answer. */
function waits(pace: DriverPace, turns: number, depth: number): number[] {
  return Array.from({ length: turns }, () => {
    const more = pace.mayWait();
    if (more > 0) pace.waited(Math.min(more, depth));
    return more;
  });
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

test('a driver is brisk while its requests come soon', () => {
  const pace = new DriverPace(MOST);
  expect(pace.isBrisk).toBe(false);
  request(pace, 0.1);
  expect(pace.isBrisk).toBe(true);
  request(pace, 3);
  expect(pace.isBrisk).toBe(false);
});

test.each([0, 1])('few answers wait for a driver that asks for %i more without them', (depth) => {
  const pace = new DriverPace(MOST);
  request(pace, 0.1);
  expect(sum(waits(pace, 640, depth))).toBe(10 * MOST);
});

test('all answers wait for a driver that goes on, until it does not', () => {
  const pace = new DriverPace(MOST);
  request(pace, 0.1);
  waits(pace, 64, 31);
  expect(sum(waits(pace, 100, 31))).toBe(100 * MOST);
  expect(sum(waits(pace, 20, 0))).toBeLessThanOrEqual(2 * MOST);
});

test('they wait for half of what a driver with a few has, so that it has something to do meanwhile', () => {
  const pace = new DriverPace(MOST);
  request(pace, 0.1);
  waits(pace, 64, 3);
  expect(waits(pace, 63, 3)).toEqual(new Array(63).fill(1));
  waits(pace, 1, 5);
  expect(waits(pace, 63, 5)).toEqual(new Array(63).fill(2));
});

test('a driver that has more later is found out', () => {
  const pace = new DriverPace(MOST);
  request(pace, 0.1);
  waits(pace, 64, 3);
  waits(pace, 64, 31);
  expect(waits(pace, 10, 31)).toEqual(new Array(10).fill(MOST));
});

test('no answer waits for a slow driver', () => {
  const pace = new DriverPace(MOST);
  request(pace, 0.1);
  waits(pace, 64, 31);
  request(pace, 3);
  expect(sum(waits(pace, 640, 31))).toBe(0);
});
