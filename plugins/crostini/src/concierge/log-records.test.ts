import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeRecord,
  encodeRecord,
  escapeText,
  LOG_PRIORITIES,
  LOG_SOURCES,
  linesOf,
  MAX_LINE,
} from './log-records.ts';

test('a record is one line, and the same when it is read again', () => {
  fc.assert(
    fc.property(
      fc.nat(),
      fc.constantFrom(...LOG_SOURCES),
      fc.constantFrom(...LOG_PRIORITIES),
      fc.string({ unit: 'grapheme' }),
      (time, source, priority, text) => {
        const line = encodeRecord({ time, source, priority, text });
        expect(line.indexOf('\n')).toBe(line.length - 1);
        expect(decodeRecord(line)).toEqual({ time, source, priority, text });
      },
    ),
  );
});

test('any other line is none', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
      expect(decodeRecord(line)).toBeUndefined();
    }),
  );
});

test('whatever a guest sends becomes lines of bounded length, and nothing of them reaches the terminal', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 20_000 }), (bytes) => {
      for (const line of linesOf(bytes)) {
        expect(Buffer.byteLength(line)).toBeLessThanOrEqual(MAX_LINE + 3);
        expect(escapeText(line)).not.toMatch(/[^\P{C}\t]/u);
      }
    }),
  );
  expect(linesOf(Buffer.from(`a\r\n\n b \r${'ä'.repeat(MAX_LINE)}`))).toEqual([
    'a',
    ' b',
    `${'ä'.repeat(MAX_LINE / 2)}…`,
  ]);
  expect(escapeText('a\tb\u001b[2Jc\u202ed\u009be')).toBe('a\tb\\x1b[2Jc\\u{202e}d\\x9be');
});
