import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { errors } from '../core-errors.ts';
import { isRuntimeError } from '../errors.ts';
import { decodeValue, encodeValue } from './value.ts';

/** Through the text, as on a socket. */
function roundTrip(value: unknown): unknown {
  return decodeValue(JSON.parse(JSON.stringify(encodeValue(value))));
}

function whyRefused(attempt: () => unknown): string {
  try {
    attempt();
  } catch (e) {
    if (isRuntimeError(e, 'CORE_ERR_WIRE_VALUE')) return String(e.details.why);
    throw e;
  }
  throw new Error('it was accepted');
}

const plainValue: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.double(),
    fc.bigInt(),
    fc.boolean(),
    fc.constant(null),
    fc.constant(undefined),
    fc.uint8Array({ maxLength: 20 }),
    fc.date({ noInvalidDate: false }),
  ),
  key: fc.oneof(fc.string(), fc.constantFrom('$t', 'v', '__proto__', 'constructor', 'toJSON', '0')),
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    tie('leaf'),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(tie('key') as fc.Arbitrary<string>, tie('value'), { maxKeys: 5, noNullPrototype: true }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((entries) => new Map(entries)),
    fc.array(tie('value'), { maxLength: 4 }).map((items) => new Set(items)),
  ),
})).value;

describe('values', () => {
  it('come back equal', () => {
    fc.assert(
      fc.property(plainValue, (value) => {
        // Not toStrictEqual, which compares the values of own properties called `constructor` as if they were classes.
        expect(isDeepStrictEqual(roundTrip(value), value)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('that are JSON already are not copied', () => {
    const value = { a: [1, 'x', { b: null }], c: true };
    expect(encodeValue(value)).toBe(value);
    expect(decodeValue(value)).toBe(value);
  });

  it('keep what JSON loses', () => {
    const value = { n: -0, list: [undefined, Number.NaN], big: 2n ** 200n, bytes: Buffer.from('hi') };
    expect(roundTrip(value)).toStrictEqual({ ...value, bytes: new Uint8Array([104, 105]) });
  });

  it('may look like a tagged value', () => {
    const posing = { $t: 'bigint', v: '7' };
    expect(roundTrip(posing)).toStrictEqual(posing);
    expect(roundTrip({ $t: 7n, v: new Map([[posing, posing]]) })).toStrictEqual({
      $t: 7n,
      v: new Map([[posing, posing]]),
    });
  });

  it('carry errors with code, remedy and causes', () => {
    const cause = new AggregateError([
      new Error('one'),
      errors.CORE_ERR_PERMISSION({ details: { who: 'a', what: 'b' } }),
    ]);
    const error = errors.CORE_ERR_HOST_GONE({ cause, plugin: 'p', details: { plugin: 'p', how: 'code 1' } });
    const back = roundTrip({ error }) as { error: unknown };
    if (!isRuntimeError(back.error, 'CORE_ERR_HOST_GONE')) throw new Error('not the same error');
    expect(back.error).toMatchObject({ message: error.message, remedy: error.remedy, plugin: 'p', retryable: true });
    expect(back.error.cause).toMatchObject({ errors: [{ message: 'one' }, { code: 'CORE_ERR_PERMISSION' }] });
  });

  it('cannot change a prototype', () => {
    const hostile: unknown = JSON.parse(
      '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"x":{"$t":"bigint","v":"1"},' +
        '"y":{"$t":"object","v":{"$t":1,"__proto__":{"$t":"number","v":"NaN"}}}}',
    );
    const value = decodeValue(hostile) as Record<string, object>;
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.getPrototypeOf(value.y)).toBe(Object.prototype);
    expect(Object.getOwnPropertyDescriptor(value.y, '__proto__')?.value).toBeNaN();
  });

  class Point {
    readonly x = 1;
  }
  const cyclic: { list: unknown[] } = { list: [1] };
  cyclic.list.push(cyclic);
  it.each([
    ['a function', { a: [0, { 'odd key': () => 1 }] }, 'value.a[1]["odd key"] is a function'],
    ['a symbol', [Symbol('s')], 'value[0] is a symbol'],
    ['a symbol key', { a: { [Symbol('s')]: 1 } }, 'value.a has a symbol as key'],
    ['a class instance', { p: new Point() }, 'value.p is an instance of Point'],
    ['another typed array', new Float32Array(1), 'value is an instance of Float32Array'],
    ['a promise', [Promise.resolve()], 'value[0] is an instance of Promise'],
    ['a member of a map', new Map([['k', () => 1]]), 'value[0] is a function'],
    ['a huge bigint', [10n ** 5000n], 'value[0] is a bigint of more than 4096 digits'],
  ])('refuse %s and say where it is', (_, value, why) => {
    expect(whyRefused(() => encodeValue(value))).toBe(why);
  });

  it('refuse a cycle, too much depth, too many values, too much text', () => {
    expect(whyRefused(() => encodeValue(cyclic))).toContain('contains itself');
    let deep: unknown = 1;
    for (let i = 0; i < 100_000; i++) deep = [deep];
    expect(whyRefused(() => encodeValue(deep))).toContain('nested more than 64 deep');
    expect(whyRefused(() => decodeValue(deep))).toContain('nested more than 64 deep');
    const limits = { depth: 8, nodes: 10, size: 20 };
    expect(whyRefused(() => encodeValue(new Array(11).fill(0), limits))).toContain('more than 10 values');
    expect(whyRefused(() => decodeValue(new Array(11).fill(0), limits))).toContain('more than 10 values');
    expect(whyRefused(() => encodeValue(['x'.repeat(21)], limits))).toContain('more than 20 bytes');
    expect(whyRefused(() => decodeValue({ ['x'.repeat(21)]: 1 }, limits))).toContain('more than 20 bytes');
  });

  it('whose getter throws are refused with the cause', () => {
    const cause = new Error('no');
    const value = {
      get a(): number {
        throw cause;
      },
    };
    expect(() => encodeValue(value)).toThrow(expect.objectContaining({ code: 'CORE_ERR_WIRE_VALUE', cause }));
  });

  it.each([
    ['an unknown tag', { $t: 'regexp', v: 'x' }],
    ['an inherited tag', { $t: 'constructor' }],
    ['a tag that is no string', { $t: 1 }],
    ['an extra key', { $t: 'bigint', v: '1', w: 1 }],
    ['a missing body', { $t: 'bigint' }],
    ['a body too many', { $t: 'undefined', v: 1 }],
    ['a number that is no number', { $t: 'bigint', v: '0x10' }],
    ['too many digits', { $t: 'bigint', v: '1'.repeat(5000) }],
    ['bad base64', { $t: 'bytes', v: 'a=b=' }],
    ['a date of text', { $t: 'date', v: 'today' }],
    ['a map of no pairs', { $t: 'map', v: [[1]] }],
    ['a set of no list', { $t: 'set', v: {} }],
    ['an error without message', { $t: 'error', v: { code: 'X' } }],
    ['an error with a strange cause', { $t: 'error', v: { code: 'X', message: 'm', cause: 1 } }],
    ['an error with unknown keys', { $t: 'error', v: { code: 'X', message: 'm', stack: 's' } }],
    ['an object of no record', { $t: 'object', v: [] }],
  ])('with %s are refused when read', (_, json) => {
    expect(whyRefused(() => decodeValue([json]))).toMatch(/^value\[0\]/);
  });
});
