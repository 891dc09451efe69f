// Many connections at once, all contents compared.

import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { OP, SHUTDOWN } from './packet.ts';
import { type GuestEnd, TestGuest } from './test-guest.ts';
import { random, VsockRig } from './test-rig.ts';

const CONNECTIONS = 1_000;
const EACH = 1_000_000;
const HOST_PORT = 5000;
const GUEST_PORT = 6000;

/** Each stream is a part of this one, beginning elsewhere. */
const source = random(EACH + CONNECTIONS * 2);
const stream = (id: number): Uint8Array => source.subarray(id, id + EACH);

/** Throws at the first byte that is not that of the stream. */
function compare(data: Uint8Array, at: number, id: number): void {
  if (Buffer.compare(data, stream(id).subarray(at, at + data.length)) !== 0)
    throw new Error(`stream ${id} differs after ${at} bytes`);
}

test('1,000 connections, half of them made by the guest, with 1 MB each way at once', {
  timeout: 120_000,
}, async () => {
  await using rig = new VsockRig({ ports: [GUEST_PORT], rxBytes: 16_384 });
  const guest = new TestGuest(rig);
  let open = CONNECTIONS;
  const { promise: done, resolve, reject } = Promise.withResolvers<void>();
  const failed = (e: unknown): void => reject(e);

  /** Stream 2i goes to the guest, 2i + 1 to the host; the first bytes that the host sends say which i it is. */
  const host = (socket: Socket, id: number): void => {
    let heard = 0;
    socket.on('error', failed);
    socket.on('data', (data: Buffer) => {
      try {
        compare(data, heard, 2 * id + 1);
      } catch (e) {
        failed(e);
      }
      heard += data.length;
    });
    socket.on('end', () => {
      if (heard !== EACH) failed(new Error(`the host got ${heard} bytes of stream ${id}`));
      open -= 1;
      if (open === 0) resolve();
    });
    const name = Buffer.alloc(4);
    name.writeUInt32LE(id);
    socket.write(name);
    socket.end(stream(2 * id));
  };

  const tend = (end: GuestEnd): void => {
    let id = -1;
    let name = Buffer.alloc(0);
    end.onData = (data, at) => {
      try {
        if (id !== -1) {
          compare(data, at - 4, 2 * id);
          return;
        }
        name = Buffer.concat([name, data]);
        if (name.length < 4) return;
        id = name.readUInt32LE();
        compare(name.subarray(4), 0, 2 * id);
        end.write(stream(2 * id + 1));
        end.shutdown(SHUTDOWN.send);
      } catch (e) {
        failed(e);
      }
    };
    end.onChange = () => {
      if (end.heard.includes(OP.rst)) failed(new Error('a connection was reset'));
    };
  };

  let next = 0;
  rig.serve(HOST_PORT, (socket) => host(socket, next++));
  guest.onConnection = tend;
  for (let i = 0; i < CONNECTIONS / 2; i++) tend(guest.connect(HOST_PORT, 10_000 + i));
  for (let i = 0; i < CONNECTIONS / 2; i++) host(rig.client(`port-${GUEST_PORT}`), CONNECTIONS / 2 + i);
  await done;
  await rig.settle();
  expect(rig.stats).toMatchObject({ opened: CONNECTIONS, refused: 0, violations: 0, malformed: 0 });
  expect(rig.stats.toHostBytes).toBe(CONNECTIONS * EACH);
  expect(rig.stats.toGuestBytes).toBe(CONNECTIONS * (EACH + 4));
});
