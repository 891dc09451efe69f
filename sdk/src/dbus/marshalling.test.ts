import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isRuntimeError } from '../public-errors.ts';
import { decodeMessage, encodeMessage, type Incoming, measureMessage, readBody } from './message.ts';
import { isName } from './names.ts';
import { parseSignature } from './signature.ts';
import { type Value, variant } from './value.ts';

const HEADER = { type: 'call', serial: 7, path: '/a', interface: 'a.b', member: 'C' } as const;

function roundTrip(signature: string, values: readonly Value[]): readonly Value[] {
  const { bytes, fds } = encodeMessage({ ...HEADER, signature, values });
  return readBody(decodeMessage(bytes), fds);
}

test.each<[string, Value]>([
  ['y', 255],
  ['b', true],
  ['n', -32_768],
  ['q', 65_535],
  ['i', -(2 ** 31)],
  ['u', 2 ** 32 - 1],
  ['x', -(2n ** 63n)],
  ['t', 2n ** 64n - 1n],
  ['d', -0.5],
  ['s', 'grüße 🐧'],
  ['o', '/org/chromium'],
  ['g', 'a{sv}(ii)'],
  ['h', 42],
  ['ay', Buffer.from([1, 2, 3])],
  ['as', ['', 'x']],
  ['a(yt)', [[1, 2n]]],
  ['v', variant('a{sv}', new Map([['a', variant('(ay)', [Buffer.from('z')])]]))],
  ['a{s(ib)}', new Map([['k', [1, false]]])],
  ['aat', [[], [1n]]],
])('a value of type %s comes back as it was', (signature, value) => {
  expect(roundTrip(`y${signature}y`, [1, value, 2])).toEqual([1, value, 2]);
});

test('messages in the other byte order are read', () => {
  const hex =
    '42020001' + // B, return, no flags, version 1
    '00000008' + // body
    '00000003' + // serial
    '0000000f' + // fields
    '0501750000000009' + // reply serial 9
    '080167000173000000'.slice(0, 14) + // signature "s"
    '00' + // padding
    '0000000368657900'; // "hey"
  const message = decodeMessage(Buffer.from(hex, 'hex'));
  expect(message).toMatchObject({ type: 'return', serial: 3, replySerial: 9, signature: 's' });
  expect(readBody(message, [])).toEqual(['hey']);
});

test.each<[string, Value]>([
  ['y', 256],
  ['y', 1.5],
  ['u', -1],
  ['x', 2n ** 63n],
  ['t', 1],
  ['b', 1],
  ['s', 'a\0b'],
  ['s', '\ud800'],
  ['o', 'no/path'],
  ['g', 'a'],
  ['v', 'text'],
  ['v', variant('ss', 'text')],
  ['ay', 'text'],
  ['(ii)', [1]],
  ['a{ss}', [['a', 'b', 'c']]],
])('what is no %s is refused', (signature, value) => {
  expect(() => roundTrip(signature, [value])).toThrow(
    expect.toSatisfy((e: unknown) => isRuntimeError(e, 'SDK_ERR_DBUS_VALUE')),
  );
});

test.each([
  'a',
  '()',
  '(i',
  'a{si',
  '{ss}',
  'a{vs}',
  'a{s}',
  'a{sss}',
  'z',
  ')',
  `${'a'.repeat(33)}y`,
  'i'.repeat(256),
])('"%s" is no signature', (signature) => expect(() => parseSignature(signature)).toThrow('signature'));

describe('hostile bytes', () => {
  const body = (signature: string, hex: string): Incoming => {
    const bytes = Buffer.from(hex, 'hex');
    return {
      ...{ type: 'signal', serial: 1, signature, fdCount: 0, little: true, bytes, bodyAt: 0 },
    };
  };

  test.each([
    ['lengths beyond the end', 'ay', 'ff00000001'],
    ['strings beyond the end', 's', 'ff0000006100'],
    ['strings without their zero', 's', '0100000061ff'],
    ['strings that are no UTF-8', 's', '01000000ff00'],
    ['arrays of more than 64 MiB', 'ai', '01000004'],
    ['elements that reach beyond their array', 'as', '0600000004000000616263'],
    ['booleans that are neither', 'b', '02000000'],
    ['padding that is not zero', 'yu', '01ff000001000000'],
    ['descriptors that did not come', 'h', '00000000'],
    ['bytes that are left', 'y', '0102'],
    ['variants of two types', 'v', '02797900' + '0101'],
  ])('%s', (_, signature, hex) => {
    expect(() => readBody(body(signature, hex), [])).toThrow(
      expect.toSatisfy((e: unknown) => isRuntimeError(e, 'SDK_ERR_DBUS_PROTOCOL')),
    );
  });

  test('variants within variants without end', () => {
    const deep = `${'017600'.repeat(20_000)}01790005`;
    expect(() => readBody(body('v', deep), [])).toThrow('deep in each other');
  });

  test('whatever comes is a message, or refused with a code', () => {
    const valid = encodeMessage({
      ...HEADER,
      ...{ signature: 'sa{sv}ay', values: ['x', new Map([['k', variant('u', 1)]]), Buffer.alloc(9)] },
    }).bytes;
    const edits = fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(edits, fc.nat(valid.length), (changes, cut) => {
        const bytes = Buffer.from(valid);
        for (const [at, value] of changes) bytes[at] = value;
        try {
          if (measureMessage(bytes).totalBytes !== bytes.length) return;
          const message = decodeMessage(cut < 8 ? bytes.subarray(0, bytes.length - cut) : bytes);
          readBody(message, []);
        } catch (e) {
          expect(isRuntimeError(e)).toBe(true);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

test('names are checked, also long ones', () => {
  expect(isName('object path', `/${'a/'.repeat(500_000)}a`)).toBe(true);
  expect(['', '/a/', '//', 'a', '/a-b'].some((path) => isName('object path', path))).toBe(false);
  expect([':1.42', 'org.chromium.VmConcierge'].every((name) => isName('bus name', name))).toBe(true);
  expect(['org', 'org..x', '1.2', '.a.b', `a.${'b'.repeat(255)}`].some((name) => isName('bus name', name))).toBe(false);
});
