import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Deadlines } from './deadlines.ts';
import { fakeClock } from './test-programs/fake-clock.ts';

test('a deadline fires after its length and at most a quarter more, whenever it was set', () => {
  const length = fc.integer({ min: 4, max: 1_000 });
  const pauses = fc.array(fc.nat(400), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(length, pauses, (ms, gaps) => {
      const clock = fakeClock();
      const deadlines = new Deadlines(clock, ms);
      const waits: number[] = [];
      for (const gap of gaps) {
        clock.advance(gap);
        const since = clock.now();
        deadlines.add({ expire: () => void waits.push(clock.now() - since) });
      }
      clock.advance(ms * 2);
      expect(waits).toHaveLength(gaps.length);
      for (const wait of waits) {
        expect(wait).toBeGreaterThanOrEqual(ms - 1e-9);
        expect(wait).toBeLessThanOrEqual(ms * 1.25 + 1e-9);
      }
    }),
  );
});

test('one that was taken back does not fire, not even in the round in which it is due', () => {
  const clock = fakeClock();
  const deadlines = new Deadlines(clock, 100);
  const log: string[] = [];
  const second = { expire: () => void log.push('second') };
  deadlines.add({
    expire: () => {
      log.push('first');
      kept.delete(second);
    },
  });
  const kept = deadlines.add(second);
  const early = { expire: () => void log.push('early') };
  deadlines.add(early).delete(early);
  clock.advance(500);
  expect(log).toEqual(['first']);
});

test('no timer runs while there are none, and one for however many', () => {
  const clock = fakeClock();
  const deadlines = new Deadlines(clock, 100);
  expect(clock.pending).toBe(0);
  const all = Array.from({ length: 1_000 }, () => ({ expire: () => {} }));
  const slices = all.map((deadline) => deadlines.add(deadline));
  expect(clock.pending).toBe(1);
  for (const [i, deadline] of all.entries()) slices[i]?.delete(deadline);
  clock.advance(25);
  expect(clock.pending).toBe(0);
  let fired = false;
  deadlines.add({
    expire: () => {
      fired = true;
    },
  });
  clock.advance(125);
  expect(fired).toBe(true);
  expect(clock.pending).toBe(0);
});

test('a deadline may set the next one', () => {
  const clock = fakeClock();
  const deadlines = new Deadlines(clock, 100);
  let rounds = 0;
  const again = (): void => {
    rounds += 1;
    if (rounds < 3) deadlines.add({ expire: again });
  };
  deadlines.add({ expire: again });
  clock.advance(400);
  expect(rounds).toBe(3);
  expect(clock.pending).toBe(0);
});
