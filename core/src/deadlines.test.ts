import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Deadlines, Watched } from './deadlines.ts';
import { fakeClock } from './test-programs/fake-clock.ts';

/** The simplest thing that can be late. */
class Wait extends Watched {
  readonly #ms: number;
  readonly #expire: () => void;
  #seenAt: number | undefined;

  constructor(ms: number, expire: () => void) {
    super();
    this.#ms = ms;
    this.#expire = expire;
  }

  look(now: number): void {
    if (this.#seenAt === undefined) this.#seenAt = now;
    else if (now - this.#seenAt >= this.#ms) {
      this.list?.delete(this);
      this.#expire();
    }
  }
}

test('lateness is noticed after the length of the deadline and at most a quarter more, whenever it began', () => {
  const length = fc.integer({ min: 8, max: 1_000 });
  const pauses = fc.array(fc.nat(400), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(length, fc.nat(1_000), pauses, (shortest, more, gaps) => {
      const clock = fakeClock();
      const deadlines = new Deadlines(clock, shortest);
      // Longer ones are noticed as exactly.
      for (const ms of [shortest, shortest + more]) {
        const waits: number[] = [];
        for (const gap of gaps) {
          clock.advance(gap);
          const since = clock.now();
          deadlines.add(new Wait(ms, () => void waits.push(clock.now() - since)));
        }
        clock.advance(ms * 2);
        expect(waits).toHaveLength(gaps.length);
        for (const wait of waits) {
          expect(wait).toBeGreaterThanOrEqual(ms - 1e-9);
          expect(wait).toBeLessThanOrEqual(ms * 1.25 + 1e-9);
        }
      }
    }),
  );
});

test('one that was taken away is looked at no more, not even in the round in which it is due', () => {
  const clock = fakeClock();
  const deadlines = new Deadlines(clock, 100);
  const log: string[] = [];
  const all: Wait[] = ['a', 'b', 'c', 'd'].map((name) => {
    const wait = new Wait(100, () => {
      log.push(name);
      // Whoever is first takes the two in the middle with it.
      for (const other of all.slice(1, 3)) deadlines.delete(other);
    });
    return wait;
  });
  for (const wait of all) deadlines.add(wait);
  const early = new Wait(100, () => void log.push('early'));
  deadlines.add(early);
  deadlines.delete(early);
  deadlines.delete(early);
  clock.advance(500);
  expect(log.sort()).toEqual(['a', 'd']);
});

test('no timer runs while there are none, and one for however many', () => {
  const clock = fakeClock();
  const deadlines = new Deadlines(clock, 100);
  expect(clock.pending).toBe(0);
  const all = Array.from({ length: 1_000 }, () => new Wait(100, () => {}));
  for (const wait of all) deadlines.add(wait);
  expect(clock.pending).toBe(1);
  for (const wait of all) deadlines.delete(wait);
  clock.advance(25);
  expect(clock.pending).toBe(0);
  let fired = false;
  const last = new Wait(100, () => {
    fired = true;
  });
  deadlines.add(last);
  clock.advance(125);
  expect(fired).toBe(true);
  expect(clock.pending).toBe(0);
});

test('what is late may begin the next', () => {
  const clock = fakeClock();
  const deadlines = new Deadlines(clock, 100);
  let rounds = 0;
  const again = (): void => {
    rounds += 1;
    if (rounds < 3) deadlines.add(new Wait(100, again));
  };
  deadlines.add(new Wait(100, again));
  clock.advance(400);
  expect(rounds).toBe(3);
  expect(clock.pending).toBe(0);
});
