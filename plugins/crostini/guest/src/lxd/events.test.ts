import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameReader } from './events.ts';

/** As a server sends it: RFC 6455, 5.2. */
function frame(opcode: number, payload: Buffer, last = true): Buffer {
  const head =
    payload.length < 126
      ? Buffer.from([0, payload.length])
      : payload.length < 0x10000
        ? Buffer.from([0, 126, payload.length >> 8, payload.length & 0xff])
        : Buffer.concat([
            Buffer.from([0, 127]),
            Buffer.from(BigUint64Array.of(BigInt(payload.length)).buffer).reverse(),
          ]);
  head[0] = (last ? 0x80 : 0) | opcode;
  return Buffer.concat([head, payload]);
}

function read(chunks: readonly Buffer[]) {
  const texts: string[] = [];
  const pings: string[] = [];
  const reader = new FrameReader(
    (text) => texts.push(text),
    (payload) => pings.push(payload.toString()),
  );
  const goesOn = chunks.every((chunk) => reader.take(chunk));
  return { texts, pings, goesOn };
}

test('texts come out whole, however they are cut into frames and pieces', () => {
  const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 300 }), fc.constant('x'.repeat(70_000)));
  fc.assert(
    fc.property(
      fc.array(text, { maxLength: 5 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 5_000 })),
      (all, sizes) => {
        const size = (): number => sizes.next().value as number;
        const frames = all.flatMap((each) => {
          const bytes = Buffer.from(each);
          const at = Math.min(size(), bytes.length);
          return [frame(1, bytes.subarray(0, at), false), frame(9, Buffer.from('p')), frame(0, bytes.subarray(at))];
        });
        const stream = Buffer.concat(frames);
        const chunks: Buffer[] = [];
        for (let at = 0; at < stream.length; ) {
          const end = at + size();
          chunks.push(stream.subarray(at, end));
          at = end;
        }
        expect(read(chunks)).toEqual({ texts: all, pings: all.map(() => 'p'), goesOn: true });
      },
    ),
    { numRuns: 100 },
  );
});

test('a server that says farewell is not read on', () => {
  expect(read([frame(1, Buffer.from('a')), frame(8, Buffer.alloc(0))])).toMatchObject({ texts: ['a'], goesOn: false });
});

test.each([
  ['a masked frame', Buffer.from([0x81, 0x80, 0, 0, 0, 0])],
  ['a reserved bit', Buffer.from([0xc1, 0])],
  ['an unknown opcode', Buffer.from([0x83, 0])],
  ['nothing to continue', frame(0, Buffer.from('x'))],
  ['a message within another', Buffer.concat([frame(1, Buffer.from('x'), false), frame(1, Buffer.from('y'))])],
  ['a frame of 2^62 bytes', Buffer.from([0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0])],
])('%s is refused', (_, bytes) => {
  expect(() => read([bytes])).toThrow();
});

test('messages of many parts have an end', () => {
  const part = Buffer.alloc(2 ** 20);
  expect(() => read([frame(1, part, false), ...Array.from({ length: 5 }, () => frame(0, part, false))])).toThrow(
    /too long/,
  );
});
