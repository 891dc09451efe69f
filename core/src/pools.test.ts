import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Ask, checkPoolSpec, createPool } from './pools.ts';
import { PoolModel } from './test-programs/pool-model.ts';
import type { PoolSpec, RangePoolSpec } from './tokens.ts';

const HUGE = 2n ** 64n;
/** Numbers that a double cannot hold must work like small ones. */
const offset = fc.constantFrom(0n, 3n, 2n ** 53n - 2n, HUGE);
const powerOfTwo = fc.constantFrom(1n, 2n, 4n, 8n);
const small = (max: number) => fc.integer({ min: 0, max }).map(BigInt);

const specs: Readonly<Record<PoolSpec['kind'], fc.Arbitrary<PoolSpec>>> = {
  id: fc.tuple(offset, small(6)).map(([from, more]) => ({ kind: 'id', from, to: from + more })),
  range: fc
    .tuple(offset, fc.integer({ min: 1, max: 24 }), fc.option(powerOfTwo))
    .map(([base, size, align]) => ({ kind: 'range', base, size: BigInt(size), ...(align === null ? {} : { align }) })),
  path: fc.constant({ kind: 'path' }),
  count: fc.tuple(offset, small(9)).map(([base, more]) => ({ kind: 'count', total: base + more })),
};

/** Asks that mostly make sense for the pool. */
function asks(spec: PoolSpec): fc.Arbitrary<Ask> {
  const size = small(5).map((n) => n + 1n);
  switch (spec.kind) {
    case 'id':
      return fc.oneof(
        fc.constant({}),
        small(8).map((n) => ({ at: spec.from - 1n + n })),
      );
    case 'range': {
      const at = small(30).map((n) => spec.base - 2n + n);
      const anywhere = fc.record({ size, align: powerOfTwo }, { requiredKeys: ['size'] });
      return fc.oneof(anywhere, fc.record({ at, size, align: powerOfTwo }, { requiredKeys: ['at', 'size'] }));
    }
    case 'path':
      return fc.constantFrom('/a', '/b', '/a/b').map((at) => ({ at }));
    case 'count':
      return fc
        .oneof(
          size,
          small(4)
            .map((n) => spec.total - 2n + n)
            .filter((n) => n >= 0n),
        )
        .map((n) => ({ size: n }));
  }
}

test.each(Object.keys(specs) as (keyof typeof specs)[])('%s: does what looking at every value does', (kind) => {
  const scenario = specs[kind].chain((spec) => {
    const step = fc.oneof(
      { weight: 3, arbitrary: asks(spec) },
      { weight: 2, arbitrary: fc.record({ release: fc.nat() }) },
    );
    return fc.tuple(fc.constant(spec), fc.array(step, { maxLength: 40, size: 'max' }));
  });
  fc.assert(
    fc.property(scenario, ([spec, steps]) => {
      expect(checkPoolSpec(spec)).toBeUndefined();
      const pool = createPool(spec);
      const model = new PoolModel(spec);
      for (const step of steps) {
        if ('release' in step) {
          const value = model.held[step.release % (model.held.length || 1)];
          if (value === undefined) continue;
          model.release(value);
          pool.release(value);
          continue;
        }
        const expected = model.take(step);
        const taken = pool.take(step);
        if ('value' in expected) {
          expect(taken).toEqual(expected);
          expect(pool.satisfies(expected.value, step)).toBe(true);
          continue;
        }
        expect('why' in taken && taken.why).toBe(expected.why);
        // Whoever is told that it is taken can be told by whom.
        if ('value' in taken) expect(model.held.some((held) => pool.collides(held, taken.value))).toBe(true);
      }
    }),
    { numRuns: 300 },
  );
});

describe('specs', () => {
  test.each<[string, PoolSpec, string | undefined]>([
    ['one id', { kind: 'id', from: 3n, to: 3n }, undefined],
    ['ids from high to low', { kind: 'id', from: 3n, to: 2n }, 'from 3 is above to 2'],
    ['an empty range', { kind: 'range', base: 0n, size: 0n }, 'base must not be negative and size must be positive'],
    ['a range below 0', { kind: 'range', base: -1n, size: 4n }, 'base must not be negative and size must be positive'],
    ['an odd alignment', { kind: 'range', base: 0n, size: 4n, align: 3n }, 'align 3 is not a power of two'],
    ['no alignment', { kind: 'range', base: 0n, size: 4n, align: 0n }, 'align 0 is not a power of two'],
    ['nothing to count', { kind: 'count', total: 0n }, undefined],
    ['less than nothing', { kind: 'count', total: -1n }, 'total is negative'],
    ['paths', { kind: 'path' }, undefined],
  ])('%s', (_what, spec, why) => {
    expect(checkPoolSpec(spec)).toBe(why);
  });
});

describe('requests that make no sense are refused with the reason', () => {
  const ranges: RangePoolSpec = { kind: 'range', base: 16n, size: 16n, align: 4n };
  test.each<[string, PoolSpec, Ask, string]>([
    ['an id that is text', { kind: 'id', from: 1n, to: 5n }, { at: '3' }, 'its ids go from 1 to 5'],
    ['an id above', { kind: 'id', from: 1n, to: 5n }, { at: 6n }, 'its ids go from 1 to 5'],
    ['a range without size', ranges, {}, 'a range needs a positive size'],
    ['an empty range', ranges, { size: 0n }, 'a range needs a positive size'],
    ['a range of odd alignment', ranges, { size: 1n, align: 12n }, 'align 12 is not a power of two'],
    ['a range below the pool', ranges, { at: 12n, size: 4n }, 'it spans 16 to 31'],
    ['a range beyond the pool', ranges, { at: 28n, size: 5n }, 'it spans 16 to 31'],
    ['a range off the alignment', ranges, { at: 18n, size: 4n }, '18 is not a multiple of 4'],
    ['an amount that is not said', { kind: 'count', total: 5n }, {}, 'a count needs a size'],
    ['a negative amount', { kind: 'count', total: 5n }, { size: -1n }, 'a count needs a size'],
    ['more than there is in all', { kind: 'count', total: 5n }, { size: 6n }, 'there are 5 in all'],
  ])('%s', (_what, spec, ask, because) => {
    const pool = createPool(spec);
    expect(pool.take(ask)).toEqual({ why: 'range', because });
  });

  test.each([
    undefined,
    7n,
    '',
    'relative',
    './x',
    '/',
    '//',
    '/a/',
    '/a//b',
    '/a/./b',
    '/a/../b',
    '/..',
    '/a\0b',
    `/${'x'.repeat(4096)}`,
  ])('the path %s', (at) => {
    const because = 'a path is absolute, without ".", ".." or "//"';
    expect(createPool({ kind: 'path' }).take(at === undefined ? {} : { at })).toEqual({ why: 'range', because });
  });

  test('but not a path of the greatest length, or with dots in its names', () => {
    const pool = createPool({ kind: 'path' });
    for (const path of [`/${'x'.repeat(4095)}`, '/a/.hidden/..x/y..'])
      expect(pool.take({ at: path })).toEqual({ value: path });
  });
});

test('an id that was just released is met again only after all the others', () => {
  const pool = createPool({ kind: 'id', from: 1n, to: 4n });
  const next = (): unknown => {
    const taken = pool.take({});
    if ('value' in taken) pool.release(taken.value);
    return 'value' in taken && taken.value;
  };
  expect([next(), next(), next(), next(), next()]).toEqual([1n, 2n, 3n, 4n, 1n]);
});

test('weights tell how much a value is worth', () => {
  expect(createPool({ kind: 'id', from: 1n, to: 4n }).weigh(3n)).toBe(1n);
  expect(createPool({ kind: 'range', base: 0n, size: 64n }).weigh({ start: 0n, size: 48n })).toBe(48n);
  expect(createPool({ kind: 'path' }).weigh('/a')).toBe(1n);
  expect(createPool({ kind: 'count', total: 9n }).weigh(4n)).toBe(4n);
});

describe('a held value is what a request would want', () => {
  test.each<[PoolSpec, unknown, Ask, boolean]>([
    [{ kind: 'id', from: 1n, to: 9n }, 3n, {}, true],
    [{ kind: 'id', from: 1n, to: 9n }, 3n, { at: 3n }, true],
    [{ kind: 'id', from: 1n, to: 9n }, 3n, { at: 4n }, false],
    [{ kind: 'range', base: 0n, size: 64n }, { start: 8n, size: 4n }, { size: 4n }, true],
    [{ kind: 'range', base: 0n, size: 64n }, { start: 8n, size: 4n }, { size: 5n }, false],
    [{ kind: 'range', base: 0n, size: 64n }, { start: 8n, size: 4n }, { size: 4n, align: 8n }, true],
    [{ kind: 'range', base: 0n, size: 64n }, { start: 8n, size: 4n }, { size: 4n, align: 16n }, false],
    [{ kind: 'range', base: 0n, size: 64n }, { start: 8n, size: 4n }, { size: 4n, at: 8n }, true],
    [{ kind: 'range', base: 0n, size: 64n }, { start: 8n, size: 4n }, { size: 4n, at: 12n }, false],
    [{ kind: 'path' }, '/a', { at: '/a' }, true],
    [{ kind: 'path' }, '/a', { at: '/b' }, false],
    [{ kind: 'count', total: 9n }, 4n, { size: 4n }, true],
    [{ kind: 'count', total: 9n }, 4n, { size: 5n }, false],
  ])('%o: %o for %o: %s', (spec, value, ask, expected) => {
    expect(createPool(spec).satisfies(value as never, ask)).toBe(expected);
  });
});
