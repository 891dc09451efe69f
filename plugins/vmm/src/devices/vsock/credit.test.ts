import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BufferBudget } from './buffer-budget.ts';
import { Credit } from './credit.ts';

const ALLOC = 1000;
const U32 = 2 ** 32;

/** Counters just before they wrap around, or anywhere. */
const start = fc.oneof(fc.integer({ min: U32 - 3000, max: U32 - 1 }), fc.integer({ min: 0, max: U32 - 1 }));

function creditAt(received: number, sent: number): Credit {
  const credit = new Credit(ALLOC);
  const counters = { received, forwarded: received, advertised: received, peerForwarded: sent, sent };
  credit.restore({ bufAlloc: ALLOC, peerAlloc: ALLOC, ...counters });
  return credit;
}

test('takes exactly what it has room for, wherever the counters are', () => {
  const steps = fc.array(fc.record({ take: fc.nat(700), pass: fc.nat(700) }), {
    minLength: 20,
    maxLength: 80,
    size: 'max',
  });
  fc.assert(
    fc.property(start, steps, (at, all) => {
      const credit = creditAt(at, 0);
      let held = 0;
      let untold = 0;
      for (const { take, pass } of all) {
        expect(credit.received(take)).toBe(held + take <= ALLOC);
        if (held + take <= ALLOC) held += take;
        const passed = Math.min(pass, held);
        credit.forwarded(passed);
        held -= passed;
        untold += passed;
        expect(credit.isNewsworthy).toBe(untold >= ALLOC / 4);
        if (!credit.isNewsworthy) continue;
        credit.advertise();
        untold = 0;
      }
    }),
  );
});

test('sends no more than the peer has room for, whatever order its packets come in', () => {
  const steps = fc.array(fc.record({ send: fc.nat(900), pass: fc.nat(900), isLate: fc.boolean() }), {
    minLength: 20,
    maxLength: 80,
    size: 'max',
  });
  fc.assert(
    fc.property(start, steps, (at, all) => {
      const credit = creditAt(0, at);
      let sent = 0;
      let passed = 0;
      let known = 0;
      for (const { send, pass, isLate } of all) {
        expect(credit.free).toBe(ALLOC - (sent - known));
        const count = Math.min(send, credit.free);
        credit.sent(count);
        sent += count;
        const before = passed;
        passed += Math.min(pass, sent - passed);
        expect(credit.peerSays(ALLOC, (at + passed) % U32)).toBe(true);
        // One that was overtaken changes nothing.
        if (isLate) expect(credit.peerSays(ALLOC, (at + before) % U32)).toBe(true);
        known = passed;
      }
      expect(credit.peerSays(ALLOC, (at + sent + 1) % U32)).toBe(false);
    }),
  );
});

test('a peer with less room than is under way gets nothing, and one with all the room there is not more than counts', () => {
  const credit = creditAt(0, 0);
  credit.sent(900);
  credit.peerSays(500, 0);
  expect(credit.free).toBe(0);
  credit.peerSays(U32 - 1, 0);
  expect(credit.free).toBe(2 ** 31 - 1 - 900);
});

test('promises never exceed what there is, and thousands get some', () => {
  const memory = 256 * 2 ** 20;
  const budget = new BufferBudget(memory);
  const sizes: number[] = [];
  for (let size = budget.reserve(); size > 0; size = budget.reserve()) sizes.push(size);
  expect(sizes.length).toBeGreaterThan(5000);
  expect(sizes[0]).toBe(256 * 1024);
  expect(sizes[999]).toBeGreaterThan(90_000);
  expect(Math.min(...sizes)).toBeGreaterThanOrEqual(4096);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(memory);
  budget.release(8192);
  expect(budget.reserve()).toBe(4096);
});
