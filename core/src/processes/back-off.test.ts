import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decideRestart } from './back-off.ts';

const all = (): number => 1 - Number.EPSILON;

test.each([
  ['never', true, 'stay-down'],
  ['on-failure', false, 'stay-down'],
  ['on-failure', true, 'restart'],
  ['always', false, 'restart'],
] as const)('restart %s after an end that failed: %s → %s', (when, failed, what) => {
  expect(decideRestart({ when }, failed, [0], 0, all).what).toBe(what);
  expect(decideRestart(undefined, failed, [0], 0, all).what).toBe('stay-down');
});

test('the delay doubles up to the longest, with up to half of it taken off by chance', () => {
  const policy = { when: 'always', backoffMs: 100, maxMs: 1000, crashLimit: 100 } as const;
  const delays = [1, 2, 3, 4, 5, 6].map((count) => {
    const decision = decideRestart(policy, true, Array(count).fill(0), 0, all);
    return decision.what === 'restart' ? Math.round(decision.delayMs) : 0;
  });
  expect(delays).toEqual([100, 200, 400, 800, 1000, 1000]);
  expect(decideRestart(policy, true, [0], 0, () => 0)).toEqual({ what: 'restart', delayMs: 50 });
});

test('only ends within the window count', () => {
  const policy = { when: 'always', crashLimit: 3, windowMs: 1000 } as const;
  expect(decideRestart(policy, true, [0, 500, 1000], 1000, all)).toEqual({
    what: 'crash-loop',
    count: 3,
    windowMs: 1000,
  });
  expect(decideRestart(policy, true, [0, 500, 1001], 1001, all).what).toBe('restart');
});

test('a delay is never negative, not a number, or above the longest', () => {
  const policy = fc.record({
    when: fc.constant('always' as const),
    backoffMs: fc.nat(10_000),
    maxMs: fc.nat(100_000),
    crashLimit: fc.integer({ min: 1, max: 2000 }),
    windowMs: fc.nat(100_000),
  });
  fc.assert(
    fc.property(
      policy,
      fc.array(fc.nat(1000), { minLength: 1, maxLength: 1100 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (p, ends, r) => {
        const decision = decideRestart(
          p,
          true,
          ends.sort((a, b) => a - b),
          ends.at(-1) ?? 0,
          () => r,
        );
        if (decision.what !== 'restart') return;
        expect(decision.delayMs).toBeGreaterThanOrEqual(0);
        expect(decision.delayMs).toBeLessThanOrEqual(p.maxMs);
      },
    ),
  );
});
