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

/** How many of as many answers may wait. */
const waits = (pace: DriverPace, answers: number, wentOn: boolean): number => {
  let n = 0;
  for (let i = 0; i < answers; i++) {
    if (!pace.mayWait()) continue;
    n++;
    pace.waited(wentOn);
  }
  return n;
};

test('a driver is brisk while its requests come soon', () => {
  const pace = new DriverPace();
  expect(pace.isBrisk).toBe(false);
  request(pace, 0.1);
  expect(pace.isBrisk).toBe(true);
  request(pace, 3);
  expect(pace.isBrisk).toBe(false);
});

test('few answers wait for a driver that asks for nothing more without them', () => {
  const pace = new DriverPace();
  request(pace, 0.1);
  expect(waits(pace, 640, false)).toBe(10);
});

test('all answers wait for a driver that goes on, until it does not', () => {
  const pace = new DriverPace();
  request(pace, 0.1);
  waits(pace, 64, true);
  expect(waits(pace, 100, true)).toBe(100);
  expect(waits(pace, 64, false)).toBe(1);
});

test('no answer waits for a slow driver', () => {
  const pace = new DriverPace();
  request(pace, 0.1);
  waits(pace, 64, true);
  request(pace, 3);
  expect(waits(pace, 640, true)).toBe(0);
});
