import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DataFrames } from './data-frames.ts';
import { DATA_MAX, FrameParser, frames, pieces } from './framing.ts';
import { vshWire } from './wire.ts';

const STREAMS = ['STDIN_STREAM', 'STDOUT_STREAM', 'STDERR_STREAM'] as const;
const encoder = (stream: (typeof STREAMS)[number]) => (data: Uint8Array) =>
  vshWire.encode('vm_tools.vsh.HostMessage', { data_message: { stream, data } });
const bytes = fc
  .tuple(fc.integer({ min: 0, max: 3 }), fc.uint8Array({ maxLength: 50 }))
  .map(([full, rest]) => Buffer.concat([Buffer.alloc(full * DATA_MAX, full), rest]));

test('they are the bytes that encoding each message gives, and are found again', () => {
  fc.assert(
    fc.property(fc.constantFrom(...STREAMS), bytes, (stream, data) => {
      const encode = encoder(stream);
      const all = new DataFrames(encode).of(data);
      expect(all.equals(frames(pieces(data).map(encode)))).toBe(true);
      const found: Buffer[] = [];
      new FrameParser().push(all, (message) => {
        const view = new DataFrames(encode).dataOf(message);
        const decoded = vshWire.decode('vm_tools.vsh.HostMessage', message).data_message?.data ?? new Uint8Array(0);
        if (decoded.length === DATA_MAX)
          expect(view === undefined ? undefined : Buffer.from(view)).toEqual(Buffer.from(decoded));
        else expect(view).toBeUndefined();
        found.push(Buffer.from(decoded));
      });
      expect(Buffer.concat(found).equals(data)).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test('a message of another stream, or of as many bytes that are none of data, is left to be decoded', () => {
  const message = encoder('STDERR_STREAM')(new Uint8Array(DATA_MAX));
  expect(new DataFrames(encoder('STDOUT_STREAM')).dataOf(message)).toBeUndefined();
  expect(new DataFrames(encoder('STDERR_STREAM')).dataOf(message.map((byte) => byte ^ 1))).toBeUndefined();
});
