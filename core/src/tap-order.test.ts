import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Orderable, orderTaps } from './tap-order.ts';
import { firstAllowedOrder } from './test-programs/tap-order-model.ts';

const OWNERS: readonly string[] = ['a', 'b', 'c', 'd'];

function tap(owner: string, sequence: number, more: Partial<Orderable> = {}): Orderable {
  return { owner, sequence, stage: 0, rank: OWNERS.indexOf(owner), before: [], after: [], ...more };
}

const names = (result: ReturnType<typeof orderTaps>): string => {
  return 'order' in result ? result.order.map((t) => `${t.owner}${t.sequence}`).join(' ') : 'a circle';
};

describe('the order of taps', () => {
  test('without wishes is by stage, then by plugin, then by registration', () => {
    const taps = [tap('b', 1), tap('a', 2, { stage: 1 }), tap('a', 3), tap('c', 4, { stage: -1 }), tap('a', 5)];
    expect(names(orderTaps(taps))).toBe('c4 a3 a5 b1 a2');
  });

  test('with wishes holds all of them, also against the stage', () => {
    const taps = [
      tap('a', 1, { stage: -10, after: ['c'] }),
      tap('b', 2),
      tap('c', 3, { stage: 10, before: ['b'] }),
      tap('d', 4, { before: ['c'], after: ['nobody'] }),
    ];
    expect(names(orderTaps(taps))).toBe('d4 c3 a1 b2');
  });

  test('a wish about oneself has no effect', () => {
    expect(names(orderTaps([tap('a', 1, { after: ['a'] }), tap('a', 2, { before: ['a'] })]))).toBe('a1 a2');
  });

  const wishes = fc.array(fc.constantFrom(...OWNERS), { maxLength: 2 });
  const taps = fc
    .array(
      fc.record({
        owner: fc.constantFrom(...OWNERS),
        stage: fc.integer({ min: -1, max: 1 }),
        before: wishes,
        after: wishes,
      }),
      { maxLength: 6 },
    )
    .map((list) => list.map(({ owner, ...more }, sequence) => tap(owner, sequence, more)));

  test('is what trying all orders finds; where there is none, a circle is named that is one', () => {
    let circles = 0;
    fc.assert(
      fc.property(taps, (list) => {
        const result = orderTaps(list);
        const expected = firstAllowedOrder(list);
        if ('order' in result) {
          expect(result.order).toEqual(expected);
          return;
        }
        circles += 1;
        expect(expected).toBeUndefined();
        const { cycle } = result;
        expect(cycle.length).toBeGreaterThan(2);
        expect(cycle.at(-1)).toBe(cycle[0]);
        for (const [i, second] of cycle.slice(1).entries()) {
          const first = cycle[i];
          const wanted = list.some(
            (t) =>
              (t.owner === first && t.before.includes(second as string)) ||
              (t.owner === second && t.after.includes(first as string)),
          );
          expect([first, second, wanted]).toEqual([first, second, true]);
        }
      }),
      { numRuns: 400 },
    );
    expect(circles).toBeGreaterThan(20);
  });

  test('does not depend on the order of the list, and leaves the list alone', () => {
    fc.assert(
      fc.property(taps, (list) => {
        const before = [...list];
        expect(names(orderTaps(list.toReversed()))).toBe(names(orderTaps(list)));
        expect(list).toEqual(before);
      }),
    );
  });
});
