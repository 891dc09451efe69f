import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fakeClock, flush } from '../test-programs/fake-clock.ts';
import { quietLog } from '../test-programs/quiet-log.ts';
import { LineSplitter, LOG_BURST, LOG_PER_SECOND, lastOutput, MAX_KEPT, MAX_LINE, OutputCapture } from './output.ts';

function split(...chunks: (string | Buffer)[]): string[] {
  const lines: string[] = [];
  const splitter = new LineSplitter((line) => lines.push(line));
  for (const chunk of chunks) splitter.push(Buffer.from(chunk as string));
  splitter.end();
  return lines;
}

test('lines are found wherever the chunks end, also within a character', () => {
  expect(split('one\ntw', 'o\r\n\nlast')).toEqual(['one', 'two', '', 'last']);
  const bytes = Buffer.from('ü漢🙂\nx\n');
  fc.assert(
    fc.property(fc.array(fc.nat(bytes.length), { maxLength: 5 }), (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const chunks = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
      expect(split(...chunks)).toEqual(['ü漢🙂', 'x']);
    }),
  );
});

test('a line without end is cut once, and the next line is whole again', () => {
  const chunks = Array.from({ length: 100 }, () => 'x'.repeat(1000));
  const lines = split(...chunks, '\nnext\n');
  expect(lines).toHaveLength(2);
  expect(lines[0]).toHaveLength(MAX_LINE + ' … (cut)'.length);
  expect(lines[1]).toBe('next');
  expect(split(`${'y'.repeat(MAX_LINE + 1)}\nz`).map((line) => line.length)).toEqual([MAX_LINE + 8, 1]);
});

test('control characters and colours do not get through', () => {
  expect(split('\x1b[31mred\x1b[0m \x07bell \x1b]0;title\x07 tab\tback\b\n')).toEqual([
    'red \ufffdbell  tab\tback\ufffd',
  ]);
});

test('the last lines are kept, and as many go to the log as the rate allows', async () => {
  const clock = fakeClock();
  const log = quietLog();
  const capture = new OutputCapture(log, clock);
  const stream = new PassThrough();
  capture.capture(stream, 'stdout');
  const flood = Array.from({ length: 10_000 }, (_, n) => `line ${n}\n`).join('');
  stream.write(flood);
  await flush();
  expect(capture.lines).toHaveLength(MAX_KEPT);
  expect(capture.lines.at(-1)).toBe('line 9999');
  expect(log.lines).toHaveLength(LOG_BURST);
  clock.advance(1000);
  expect(log.lines.at(-1)).toEqual({
    level: 'warn',
    fields: { dropped: 10_000 - LOG_BURST },
    message: `${10_000 - LOG_BURST} lines dropped`,
  });
  stream.write(flood);
  await flush();
  expect(log.lines).toHaveLength(LOG_BURST + 1 + LOG_PER_SECOND);
  capture.flush();
  expect(log.lines.at(-1)?.message).toBe(`${10_000 - LOG_PER_SECOND} lines dropped`);
  expect(clock.pending).toBe(0);
});

test('the last words for an error are short', () => {
  expect(lastOutput([])).toBe('none');
  expect(lastOutput(['a', 'b', 'c', 'd'])).toBe('b | c | d');
  expect(lastOutput(['x'.repeat(9000)])).toHaveLength(500);
});
