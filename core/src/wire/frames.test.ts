import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isRuntimeError } from '../errors.ts';
import { encodeFrame, FrameDecoder } from './frames.ts';
import { decodeValue, encodeValue, type JsonObject } from './value.ts';

function readAll(bytes: Uint8Array, maxBytes?: number): JsonObject[] {
  const frames: JsonObject[] = [];
  const decoder = new FrameDecoder(maxBytes);
  decoder.push(bytes, (frame) => frames.push(frame));
  decoder.end();
  return frames;
}

function refusal(attempt: () => unknown): string {
  try {
    attempt();
  } catch (e) {
    if (isRuntimeError(e, 'CORE_ERR_WIRE')) return String(e.details.why);
    throw e;
  }
  throw new Error('it was accepted');
}

const message = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue() as fc.Arbitrary<unknown>, {
  noNullPrototype: true,
});

describe('frames', () => {
  it('come back whole and in order, wherever the stream is cut', () => {
    const property = fc.property(fc.array(message), fc.array(fc.nat(40)), (messages, cuts) => {
      const bytes = Buffer.from(messages.map((m) => encodeFrame(m)).join(''));
      const decoder = new FrameDecoder();
      const frames: JsonObject[] = [];
      let total = 0;
      let from = 0;
      const collect = (frame: JsonObject, size: number): void => {
        frames.push(frame);
        total += size;
      };
      for (const cut of cuts) {
        decoder.push(bytes.subarray(from, from + cut), collect);
        from = Math.min(bytes.length, from + cut);
      }
      decoder.push(bytes.subarray(from), collect);
      decoder.end();
      expect(frames).toEqual(JSON.parse(JSON.stringify(messages)));
      expect(total).toBe(bytes.length);
    });
    fc.assert(property, { numRuns: 500 });
  });

  it('are delivered before a bad one is refused, and none after it', () => {
    const decoder = new FrameDecoder();
    const seen: JsonObject[] = [];
    const push = (text: string): void => decoder.push(Buffer.from(text), (frame) => seen.push(frame));
    expect(refusal(() => push('{"a":1}\nnonsense\n{"b":2}\n'))).toBe('it is not JSON');
    expect(seen).toEqual([{ a: 1 }]);
    expect(refusal(() => push('{"c":3}\n'))).toBe('it is not JSON');
    expect(seen).toEqual([{ a: 1 }]);
  });

  it.each([
    ['a list', '[]\n', 'it is not a JSON object'],
    ['null', 'null\n', 'it is not a JSON object'],
    ['an empty line', '\n', 'it is not JSON'],
    ['a byte order mark', '\ufeff{}\n', 'it is not JSON'],
    ['half a frame', '{"a":', 'it ended before its line feed'],
  ])('refuse %s', (_, text, why) => {
    expect(refusal(() => readAll(Buffer.from(text)))).toBe(why);
  });

  it('refuse what is not UTF-8', () => {
    expect(refusal(() => readAll(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d, 0x0a])))).toBe(
      'it is not UTF-8',
    );
  });

  it('refuse a line that is too long before it has ended, and never keep more than that', () => {
    const exactly = `{"a":"${'x'.repeat(55)}"}\n`;
    expect(exactly).toHaveLength(64);
    expect(readAll(Buffer.from(exactly), 64)).toHaveLength(1);
    expect(refusal(() => readAll(Buffer.from(`{"a":"${'x'.repeat(56)}"}\n`), 64))).toBe('it has more than 64 bytes');
    const decoder = new FrameDecoder(64);
    const feed = (): void => {
      for (;;) decoder.push(Buffer.from('x'), () => {});
    };
    expect(refusal(feed)).toBe('it has more than 64 bytes');
    expect(decoder.buffered).toBe(0);
  });

  it('cost linear work in tiny chunks', () => {
    // 3 MiB byte by byte: quadratic work would copy terabytes and run into the time-out of the test.
    const bytes = Buffer.from(encodeFrame({ text: 'y'.repeat(3 * 1024 * 1024) }));
    const decoder = new FrameDecoder();
    let seen = 0;
    for (let i = 0; i < bytes.length; i++) decoder.push(bytes.subarray(i, i + 1), () => seen++);
    expect(seen).toBe(1);
  });

  it('refuse to be written too long', () => {
    expect(refusal(() => encodeFrame({ a: 'ä'.repeat(40) }, 64))).toBe('it has 89 bytes, more than 64');
  });
});

const corpus = new URL('./corpus/', import.meta.url);
const corpusLines = (name: string): Buffer[] => {
  const bytes = readFileSync(new URL(name, corpus));
  const lines: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0x0a, at);
    lines.push(bytes.subarray(at, end + 1));
    at = end + 1;
  }
  return lines;
};

describe('the corpus', () => {
  it('holds the files that the tests replay', () => {
    expect(readdirSync(corpus).sort()).toEqual(['refused.ndjson', 'valid.ndjson']);
  });

  it('has valid frames that survive a round trip', () => {
    for (const line of corpusLines('valid.ndjson')) {
      const [frame] = readAll(line);
      const value = decodeValue(frame);
      expect(decodeValue(JSON.parse(JSON.stringify(encodeValue(value))))).toEqual(value);
    }
  });

  it('has frames that are refused with a code', () => {
    for (const line of corpusLines('refused.ndjson')) {
      const read = (): unknown => readAll(line).map((frame) => decodeValue(frame));
      expect(read, line.toString('latin1').slice(0, 80)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^CORE_ERR_WIRE(_VALUE)?$/) }),
      );
    }
  });

  it('mutated 100,000 times causes nothing but coded errors', () => {
    const valid = corpusLines('valid.ndjson');
    const seeds = [...valid, ...valid, ...corpusLines('refused.ndjson')];
    // A fixed seed: a failure can be repeated.
    let state = 0x2545f491;
    const random = (below: number): number => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
    const tokens = [
      '"$t"',
      '"v"',
      '"bigint"',
      '"object"',
      '"map"',
      '[',
      ']',
      '{',
      '}',
      ',',
      ':',
      '\n',
      '\\u0000',
      '1e999',
      '"__proto__"',
    ];
    let accepted = 0;
    let refused = 0;
    for (let i = 0; i < 100_000; i++) {
      let bytes = Buffer.from(seeds[random(seeds.length)] as Buffer);
      for (let edits = 1 + random(2); edits > 0; edits--) {
        const at = random(bytes.length + 1);
        const kind = random(4);
        if (kind === 0 && bytes.length > 0) bytes[at % bytes.length] = random(256);
        else if (kind === 1) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(8))]);
        else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(random(bytes.length + 1))]);
        else
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            Buffer.from(tokens[random(tokens.length)] as string),
            bytes.subarray(at),
          ]);
      }
      try {
        const decoder = new FrameDecoder(4096);
        const cut = random(bytes.length + 1);
        const check = (frame: JsonObject): void => void encodeValue(decodeValue(frame));
        decoder.push(bytes.subarray(0, cut), check);
        decoder.push(bytes.subarray(cut), check);
        decoder.end();
        accepted++;
      } catch (e) {
        if (!isRuntimeError(e, 'CORE_ERR_WIRE') && !isRuntimeError(e, 'CORE_ERR_WIRE_VALUE')) throw e;
        refused++;
      }
    }
    expect(accepted + refused).toBe(100_000);
    // Both happen often, or the mutations reach nothing.
    expect(Math.min(accepted, refused)).toBeGreaterThan(5_000);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});
