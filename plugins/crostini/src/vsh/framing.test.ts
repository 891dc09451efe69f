import fc from 'fast-check';
import { expect, test } from 'vitest';
import { guestWire } from '../wire/index.ts';
import { DATA_MAX, FrameParser, frames, MESSAGE_MAX, pieces } from './framing.ts';

const messages = fc.array(fc.uint8Array({ maxLength: MESSAGE_MAX, size: 'max' }), { maxLength: 8 });

test('what was framed comes out, however the stream is cut', () => {
  fc.assert(
    fc.property(messages, fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), (sent, cuts) => {
      const stream = frames(sent);
      const parser = new FrameParser();
      const got: Uint8Array[] = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const end = at + (cuts[i % cuts.length] as number);
        parser.push(stream.subarray(at, end), (message) => got.push(Uint8Array.from(message)));
        at = end;
      }
      expect(got).toEqual(sent.map((one) => Uint8Array.from(one)));
      expect(parser.isBetween).toBe(true);
    }),
  );
});

test('random bytes are taken or refused with a code, and nothing is kept of them', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 9000, size: 'max' })), (chunks) => {
      const parser = new FrameParser();
      try {
        for (const chunk of chunks) parser.push(chunk, (message) => expect(message.length).toBeLessThan(4097));
      } catch (e) {
        expect(e).toMatchObject({ code: 'CROSTINI_ERR_VSH_FRAME' });
      }
    }),
  );
});

test('the limit is 4096 bytes: one more is refused before it arrives', () => {
  const header = (length: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(length);
    return bytes;
  };
  const refused = expect.objectContaining({ code: 'CROSTINI_ERR_VSH_FRAME' });
  expect(() => new FrameParser().push(header(MESSAGE_MAX + 1), () => {})).toThrow(refused);
  expect(() => frames([new Uint8Array(MESSAGE_MAX + 1)])).toThrow(refused);
  new FrameParser().push(header(MESSAGE_MAX), () => {});
});

test('an empty message is a message', () => {
  let count = 0;
  new FrameParser().push(frames([new Uint8Array(0), new Uint8Array(0)]), () => {
    count += 1;
  });
  expect(count).toBe(2);
});

test('a piece of data fits into a message, whatever carries it', () => {
  const [piece = new Uint8Array()] = pieces(new Uint8Array(DATA_MAX * 2));
  expect(piece).toHaveLength(DATA_MAX);
  const message = guestWire.encode('vm_tools.vsh.HostMessage', {
    data_message: { stream: 'STDERR_STREAM', data: piece },
  });
  expect(message.length).toBeLessThanOrEqual(MESSAGE_MAX);
});
