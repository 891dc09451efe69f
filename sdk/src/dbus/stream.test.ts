import { closeSync, fstatSync, readdirSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { FdSocket, memfdCreate, socketPair } from '../linux/index.ts';
import { decodeMessage, encodeMessage, readBody } from './message.ts';
import { BusStream } from './stream.ts';

const openFds = (): number => readdirSync('/proc/self/fd').length;
const MAX_BYTES = 4096;

/** What the kernel needs of its own at the first use of sockets and of the event loop stays open. */
async function warmUp(): Promise<void> {
  const [a, b] = socketPair('stream');
  new BusStream(a, MAX_BYTES, { onLine() {}, onFrame() {}, onEnd() {} })[Symbol.dispose]();
  closeSync(b);
}

let before = 0;
beforeEach(async () => {
  await warmUp();
  before = openFds();
});
afterEach(() => expect(openFds()).toBe(before));

interface Seen {
  readonly serial: number;
  readonly oversize: boolean;
  /** Sizes of the files that came along. */
  readonly sizes: readonly number[];
}

/** A stream whose other end is a plain socket. */
function listen() {
  const [mine, other] = socketPair('stream');
  const seen: Seen[] = [];
  const ended = Promise.withResolvers<unknown>();
  const stream = new BusStream(mine, MAX_BYTES, {
    onLine() {},
    onFrame({ bytes, oversize }) {
      const message = decodeMessage(bytes);
      const fds = stream.takeFds(message.fdCount) ?? [];
      seen.push({ serial: message.serial, oversize, sizes: fds.map((fd) => fstatSync(fd).size) });
      for (const fd of fds) closeSync(fd);
    },
    onEnd: ended.resolve,
  });
  stream.beginMessages();
  const socket = new FdSocket(other);
  return {
    ...{ stream, socket, seen, ended: ended.promise },
    [Symbol.dispose]() {
      stream[Symbol.dispose]();
      socket[Symbol.dispose]();
      closeSync(other);
    },
  };
}

const encode = (serial: number, size: number, fds: readonly number[]) =>
  encodeMessage({
    ...{ type: 'call', serial, path: '/a', member: 'B', signature: 'ayah' },
    values: [Buffer.alloc(size), fds],
  });

test('however it is cut, each message comes with its own descriptors', async () => {
  const files = [100, 200, 300].map((size) => memfdCreate('file', { size }));
  const message = fc.record({
    size: fc.integer({ min: 0, max: 2 * MAX_BYTES }),
    fds: fc.integer({ min: 0, max: 3 }),
    cuts: fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 8 }), async (messages) => {
      using ends = listen();
      const expected: Seen[] = [];
      for (const [i, { size, fds, cuts }] of messages.entries()) {
        const { bytes } = encode(i + 1, size, files.slice(0, fds));
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          const part = bytes.subarray(at, Math.min(at + cut, bytes.length));
          if (part.length === 0) break;
          // Descriptors go with the first byte of their message.
          expect(ends.socket.send(part, at === 0 ? files.slice(0, fds) : [])).toBe(part.length);
          at += part.length;
          if (cuts.length % 2 === 1) await new Promise((resolve) => setImmediate(resolve));
        }
        expected.push({ serial: i + 1, oversize: bytes.length > MAX_BYTES, sizes: [100, 200, 300].slice(0, fds) });
      }
      await vi.waitFor(() => expect(ends.seen).toHaveLength(messages.length), { interval: 1 });
      expect(ends.seen).toEqual(expected);
    }),
    { numRuns: 60 },
  );
  for (const file of files) closeSync(file);
});

test('what the other end does not take yet waits, with copies of its descriptors', async () => {
  using ends = listen();
  const file = memfdCreate('file', { size: 100 });
  const count = openFds();
  for (let serial = 1; serial <= 64; serial++) {
    const { bytes, fds } = encode(serial, 100_000, [file]);
    ends.stream.send(bytes, fds);
  }
  closeSync(file);
  expect(ends.stream.queuedBytes).toBeGreaterThan(1_000_000);
  expect(openFds()).toBeGreaterThan(count);
  const all: Buffer[] = [];
  const into = new Uint8Array(65_536);
  let descriptors = 0;
  const length = 64 * encode(1, 100_000, [0]).bytes.length;
  await vi.waitFor(
    () => {
      for (let one = ends.socket.receive(into); one !== undefined; one = ends.socket.receive(into)) {
        all.push(Buffer.from(into.subarray(0, one.bytes)));
        descriptors += one.fds.length;
        for (const fd of one.fds) closeSync(fd);
      }
      expect(Buffer.concat(all).length).toBe(length);
    },
    { interval: 1, timeout: 20_000 },
  );
  expect(descriptors).toBe(64);
  expect(ends.stream.queuedBytes).toBe(0);
  const last = decodeMessage(Buffer.concat(all).subarray((length / 64) * 63));
  expect(readBody(last, [0])[0]).toHaveLength(100_000);
});

test('descriptors without end are not kept', async () => {
  using ends = listen();
  const file = memfdCreate('file', { size: 1 });
  const many = Array<number>(200).fill(file);
  // The prefix of a message of 3 KiB, then its bytes one by one, each with descriptors.
  const { bytes } = encode(1, 3000, []);
  const send = async (): Promise<void> => {
    for (let i = 0; i < 100; i++) {
      ends.socket.send(bytes.subarray(i, i + 1), many);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await expect(send()).rejects.toThrow('EPIPE');
  expect(String(await ends.ended)).toContain('descriptors come without messages');
  closeSync(file);
});

test('an end that hangs up is told once, and so is closing', async () => {
  const ends = listen();
  ends[Symbol.dispose]();
  expect(await ends.ended).toBeUndefined();
  ends.stream.send(Buffer.from('nothing'));
});
