import fc from 'fast-check';
import Long from 'long';
import { configure, parse, util } from 'protobufjs';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { type Message, Protobuf, type ProtoTable, protoText } from './index.ts';

const table = {
  messages: {
    't.Inner': { name: [1, 'string'], deeper: [2, 't.Inner'] },
    't.All': {
      flag: [1, 'bool'],
      i32: [2, 'int32'],
      s32: [3, 'sint32'],
      u32: [4, 'uint32'],
      f32: [5, 'fixed32'],
      i64: [6, 'int64'],
      u64: [7, 'uint64'],
      dbl: [8, 'double'],
      text: [9, 'string'],
      data: [16, 'bytes'],
      kind: [17, 't.All.Kind'],
      inner: [18, 't.Inner'],
      texts: [19, 'string', 'repeated'],
      numbers: [20, 'sint32', 'repeated'],
      inners: [2000, 't.Inner', 'repeated'],
      env: [22, 'map<string,string>'],
      counts: [23, 'map<uint32,int64>'],
      maybe: [24, 'uint32', 'optional'],
      left: [25, 'string', 'oneof side'],
      right: [26, 't.Inner', 'oneof side'],
    },
  },
  enums: { 't.All.Kind': { NONE: 0, SOME: 1, FAR: 70_000 } },
  services: { 't.Service': { Call: ['t.All', 't.Inner'], Watch: ['t.Inner', 't.All', 'server'] } },
} as const satisfies ProtoTable;
const ours = new Protobuf(table);
// It does not find it by itself among ES modules, and would round what is above 2^53.
util.Long = Long;
configure();
const all = parse(protoText('t', table), { keepCase: true }).root.lookupType('t.All');

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const text = fc.string({ unit: 'binary', maxLength: 40 });
const inner = fc.option(fc.record({ name: text }), { nil: undefined });
const message = fc.record(
  {
    flag: fc.boolean(),
    ...{ i32: int32, s32: int32, u32: uint32, f32: uint32 },
    i64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    u64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    dbl: fc.double({ noNaN: true }),
    text,
    data: fc.uint8Array({ maxLength: 600 }),
    kind: fc.constantFrom('NONE', 'SOME', 'FAR', 12),
    inner,
    texts: fc.array(text),
    numbers: fc.array(int32),
    inners: fc.array(fc.record({ name: text })),
    env: fc.array(fc.tuple(text, text)).map((entries) => new Map(entries)),
    counts: fc
      .array(fc.tuple(uint32, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })))
      .map((entries) => new Map(entries)),
    maybe: uint32,
    left: text,
  },
  { requiredKeys: [] },
);

/** protobufjs' own bytes of a message of ours. */
function theirBytes(value: Message<typeof table, 't.All'>): Uint8Array {
  const plain = Object.fromEntries(
    Object.entries(value).flatMap(([name, one]) => {
      if (one === undefined) return [];
      return [
        [name, one instanceof Map ? Object.fromEntries([...one].map(([k, v]) => [k, plainOf(v)])) : plainOf(one)],
      ];
    }),
  );
  return all.encode(all.fromObject(plain)).finish();
}
const plainOf = (value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

test('what is encoded is decoded, by us and by protobufjs, in both directions', () => {
  fc.assert(
    fc.property(message, (value) => {
      const bytes = ours.encode('t.All', value as never);
      const decoded = ours.decode('t.All', bytes);
      for (const [name, one] of Object.entries(value)) {
        if (one !== undefined) expect(decoded[name as keyof typeof decoded], name).toStrictEqual(fill(one));
      }
      // They read ours, write it again, and we read the same.
      const again = all.encode(all.decode(bytes)).finish();
      expect(ours.decode('t.All', again)).toStrictEqual(decoded);
      expect(ours.decode('t.All', theirBytes(decoded))).toStrictEqual(decoded);
    }),
    { numRuns: 500 },
  );
});

/** What the messages in it are when they come back. */
function fill(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fill);
  const isInner = typeof value === 'object' && value !== null && 'name' in value;
  return isInner ? { ...value, deeper: undefined } : value;
}

test('defaults take no bytes, except where it counts that they were set', () => {
  expect(ours.encode('t.All', { flag: false, i64: 0n, text: '', kind: 'NONE', texts: [] })).toHaveLength(0);
  expect(ours.decode('t.All', ours.encode('t.All', { maybe: 0 })).maybe).toBe(0);
  expect(ours.decode('t.All', new Uint8Array(0)).maybe).toBeUndefined();
});

test('of a choice the last one counts', () => {
  const both = Buffer.concat([ours.encode('t.All', { left: 'l' }), ours.encode('t.All', { right: { name: 'r' } })]);
  expect(ours.decode('t.All', both)).toMatchObject({ left: undefined, right: { name: 'r' } });
});

test('fields that are not known are passed over', () => {
  const more = Buffer.concat([ours.encode('t.All', { u32: 7 }), Buffer.from([0xf8, 0x07, 1, 0xfd, 0x07, 1, 2, 3, 4])]);
  expect(ours.decode('t.All', more).u32).toBe(7);
});

test('the types say what a table says', () => {
  type All = Message<typeof table, 't.All'>;
  expectTypeOf<All['kind']>().toEqualTypeOf<'NONE' | 'SOME' | 'FAR' | number>();
  expectTypeOf<All['inner']>().toEqualTypeOf<Message<typeof table, 't.Inner'> | undefined>();
  expectTypeOf<All['counts']>().toEqualTypeOf<ReadonlyMap<number, bigint>>();
  expectTypeOf<All['maybe']>().toEqualTypeOf<number | undefined>();
});

describe('what is spoiled', () => {
  test.each([
    ['a number without an end', [0x10, ...Array(11).fill(0xff)], /no end/],
    ['a part longer than all', [0x4a, 0x7f, 1], /midst of a field|past the end/],
    ['a part of 2^63 bytes', [0x4a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], /past the end/],
    ['text that is not UTF-8', [0x4a, 1, 0xff], /UTF-8/],
    ['another wire type', [0x4d, 1, 2, 3, 4], /wire type 5/],
    ['field 0', [0x00, 1], /field 0/],
    ['a group', [0xfb, 0x07], /wire type 3/],
  ])('%s is refused', (_, bytes, why) => {
    expect(() => ours.decode('t.All', Uint8Array.from(bytes as number[]))).toThrow(
      expect.objectContaining({ code: 'SDK_ERR_PROTOBUF', message: expect.stringMatching(why) }),
    );
  });

  test('messages that lie too deep in each other are refused', () => {
    let bytes = ours.encode('t.Inner', { name: 'x' });
    for (let i = 0; i < 40; i++) bytes = Buffer.concat([Buffer.from([0x12]), lengthOf(bytes), bytes]);
    expect(() => ours.decode('t.Inner', bytes)).toThrow(/deep/);
  });

  test('any bytes are a message or an error with a code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), message, fc.nat(), fc.nat(255), (noise, value, at, byte) => {
        const bytes = Buffer.from(ours.encode('t.All', value as never));
        if (bytes.length > 0) bytes[at % bytes.length] = byte;
        for (const one of [noise, bytes]) {
          try {
            ours.decode('t.All', one);
          } catch (e) {
            expect((e as { code?: string }).code).toBe('SDK_ERR_PROTOBUF');
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

const lengthOf = (bytes: Uint8Array): Buffer =>
  bytes.length < 0x80 ? Buffer.from([bytes.length]) : Buffer.from([(bytes.length & 0x7f) | 0x80, bytes.length >> 7]);
