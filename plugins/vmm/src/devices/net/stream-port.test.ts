import { closeSync } from 'node:fs';
import { FdSocket, socketPair } from '@runtime/sdk/linux';
import { expect, test } from 'vitest';
import device from './index.ts';
import { cut, frame, framed, netRig, RX, TX, tick, until, withHeader } from './test-rig.ts';

const backend = 'passt';

test('frames of a stream are told apart wherever it is cut', async () => {
  await using rig = await netRig({ backend, driver: { size: 64 } });
  const queue = rig.driven.queue(RX);
  for (let i = 0; i < 60; i++) queue.add([], [2000]);
  queue.kick();
  const frames = [14, 60, 1514, 100, 1400, 15, 64].map((length, i) => frame(length, i));
  const stream = framed(...frames);
  for (const part of cut(stream, 1, 2, 1, 5, 70, 1500, 3, 90)) {
    rig.host.send(part);
    await tick();
  }
  rig.host.send(stream);
  const buffers = await rig.driven.completions(frames.length * 2, RX);
  for (const [i, { data }] of buffers.entries()) {
    expect([...data.subarray(0, 12)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    expect(Buffer.compare(data.subarray(12), frames[i % frames.length] as Uint8Array)).toBe(0);
  }
});

test('frames are sent with their length in front, and without the header', async () => {
  await using rig = await netRig({ backend });
  const message = withHeader(frame(1514));
  await rig.driven.exchange([message], [], TX);
  await rig.driven.exchange(cut(message, 5, 8, 700), [], TX);
  await tick();
  const got = Buffer.concat(await rig.received());
  expect(got.equals(framed(frame(1514), frame(1514)))).toBe(true);
});

test('a frame that no 16 bits can tell the length of is not sent to passt, which would hang up', async () => {
  await using rig = await netRig({ backend });
  await rig.driven.exchange([withHeader(frame(65_536))], [], TX);
  expect(rig.driven.stats).toMatchObject({ txMalformed: 1, txFrames: 0 });
});

test('a stream that takes parts of frames gets all of them', async () => {
  await using rig = await netRig({ backend, sendBuffer: 4096 });
  const queue = rig.driven.queue(TX);
  const lengths = Array.from({ length: 150 }, (_, i) => 60 + ((i * 977) % 9000));
  const wanted = framed(...lengths.map((length, i) => frame(length, i)));
  const got: Uint8Array[] = [];
  const into = new Uint8Array(5000);
  let sent = 0;
  let received = 0;
  await until(() => {
    while (sent < lengths.length && queue.add([withHeader(frame(lengths[sent] as number, sent))], []) >= 0) sent++;
    queue.kick();
    queue.used();
    const part = rig.host.receive(into.subarray(0, 1 + ((received * 31) % 5000)));
    if (part !== undefined) {
      got.push(into.slice(0, part.bytes));
      received += part.bytes;
    }
    return received === wanted.length;
  });
  expect(Buffer.concat(got).equals(wanted)).toBe(true);
  expect(rig.driven.stats.txFull).toBeGreaterThan(0);
});

test('frames that are too short are skipped', async () => {
  await using rig = await netRig({ backend });
  rig.driven.queue(RX).add([], [1526]);
  rig.driven.queue(RX).kick();
  rig.host.send(framed(new Uint8Array(0), new Uint8Array(13), frame(60)));
  expect((await rig.driven.completions(1, RX))[0]?.written).toBe(72);
  expect(rig.driven.stats.rxMalformed).toBe(2);
});

test('when the stream makes no sense or ends, the link is down until there is another one', async () => {
  const sockets: FdSocket[] = [];
  const ours: number[] = [];
  const connect = async () => {
    const [mine, theirs] = socketPair('stream');
    sockets.push(new FdSocket(theirs));
    ours.push(theirs);
    return { value: null, fds: [mine] };
  };
  let refusals = 1;
  await using rig = await netRig({
    backend,
    request: async (method) => {
      expect(method).toBe('connect');
      if (refusals-- > 0) throw new Error('passt is not there yet');
      return await connect();
    },
  });
  const { driven } = rig;
  rig.host.send(Uint8Array.of(0, 1, 0, 0x0f));
  await until(() => driven.stats.lost === 1);
  expect(rig.config.getUint16(6, true)).toBe(0);
  await driven.exchange([withHeader(frame(60))], [], TX);
  expect(driven.stats.txDropped).toBe(1);
  await until(() => rig.config.getUint16(6, true) === 1);
  driven.queue(RX).add([], [1526]);
  driven.queue(RX).kick();
  sockets[0]?.send(framed(frame(60)));
  expect((await driven.completions(1, RX))[0]?.written).toBe(72);

  sockets[0]?.[Symbol.dispose]();
  closeSync(ours[0] as number);
  await until(() => driven.stats.lost === 2 && sockets.length === 2 && rig.config.getUint16(6, true) === 1);
  await driven.exchange([withHeader(frame(60))], [], TX);
  const into = new Uint8Array(100);
  await until(() => sockets[1]?.receive(into)?.bytes === 64);
  sockets[1]?.[Symbol.dispose]();
  closeSync(ours[1] as number);
});

test('new code goes on in the middle of the stream, in both directions', async () => {
  await using rig = await netRig({ backend, sendBuffer: 4096 });
  const { driven } = rig;
  const queue = driven.queue(RX);
  const [first, second] = [frame(1000, 1), frame(500, 2)];
  const stream = framed(first, second);
  rig.host.send(stream.subarray(0, 1200));
  await until(() => driven.stats.rxStarved === 1);
  const tx = driven.queue(TX);
  for (let i = 0; i < 20; i++) tx.add([withHeader(frame(3000, i))], []);
  tx.kick();
  await until(() => (driven.stats.txFull ?? 0) > 0);
  await driven.runner.replace(device as never);
  rig.host.send(stream.subarray(1200));
  for (let i = 0; i < 2; i++) queue.add([], [2000]);
  queue.kick();
  const buffers = await driven.completions(2, RX);
  expect(buffers.map(({ data }) => Buffer.from(data.subarray(12)).equals(data.length > 600 ? first : second))).toEqual([
    true,
    true,
  ]);
  const wanted = framed(...Array.from({ length: 20 }, (_, i) => frame(3000, i)));
  const got: Uint8Array[] = [];
  const into = new Uint8Array(10_000);
  let length = 0;
  await until(() => {
    const part = rig.host.receive(into);
    if (part !== undefined) got.push(into.slice(0, part.bytes));
    length += part?.bytes ?? 0;
    return length === wanted.length;
  });
  expect(Buffer.concat(got).equals(wanted)).toBe(true);
});
