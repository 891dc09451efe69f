import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { HOST_CID, OP, SHUTDOWN } from './packet.ts';
import { CID, type Packet, random, VsockRig } from './test-rig.ts';

const GUEST_PORT = 1234;
const HOST_PORT = 5000;

/** What a socket sends until it ends. */
async function all(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part)).resume();
  await once(socket, 'end');
  return Buffer.concat(parts);
}

/** Nothing more comes from the other side, whichever way it ended. */
async function ended(socket: Socket): Promise<void> {
  if (socket.readableEnded || socket.closed) return;
  await new Promise<void>((resolve) => {
    for (const event of ['end', 'error', 'close']) socket.once(event, () => resolve());
  });
}

/** A connection that the guest has made: the host's socket of it. */
async function fromGuest(rig: VsockRig, given: { readonly bufAlloc?: number } = {}): Promise<Socket> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  rig.serve(HOST_PORT, (socket) => resolve(socket.on('error', () => {})));
  rig.send({ op: OP.request, sourcePort: GUEST_PORT, destinationPort: HOST_PORT, ...given });
  const socket = await promise;
  await rig.op(OP.response);
  return socket;
}

const ports = { sourcePort: GUEST_PORT, destinationPort: HOST_PORT };

test('a client of the host says where it wants to go, and is connected when the guest accepts', async () => {
  await using rig = new VsockRig();
  const client = rig.client('vsock.sock');
  client.write('CONNECT 77\nhello');
  const request = await rig.op(OP.request);
  expect(request).toMatchObject({
    destinationPort: 77,
    sourceCid: BigInt(HOST_CID),
    destinationCid: BigInt(CID),
    type: 1,
  });
  expect(request.bufAlloc).toBe(256 * 1024);
  const answer = { sourcePort: 77, destinationPort: request.sourcePort };
  rig.send({ ...answer, op: OP.response });
  const [ok] = await once(client, 'data');
  expect(String(ok)).toBe(`OK ${request.sourcePort}\n`);
  const { data } = await rig.op(OP.rw);
  expect(String(Buffer.from(data))).toBe('hello');
  rig.send({ ...answer, data: Buffer.from('hi there') });
  const [reply] = await once(client, 'data');
  expect(String(reply)).toBe('hi there');
});

test.each([
  'CONNECT\n',
  'CONNECT 4294967295\n',
  'CONNECT 99999999999\n',
  'GET / HTTP/1.1\r\n',
  'x'.repeat(40),
  'CONNECT -1\n',
])('a client that says %j is sent away', async (line) => {
  await using rig = new VsockRig();
  const client = rig.client('vsock.sock');
  client.write(line);
  client.resume();
  await ended(client);
  expect(rig.received).toEqual([]);
});

test('a socket of its own leads to one port of the guest', async () => {
  await using rig = new VsockRig({ ports: [5001] });
  const client = rig.client('port-5001');
  client.write('at once');
  const request = await rig.op(OP.request);
  expect(request.destinationPort).toBe(5001);
  rig.send({ op: OP.response, sourcePort: 5001, destinationPort: request.sourcePort });
  expect(String(Buffer.from((await rig.op(OP.rw)).data))).toBe('at once');
});

test('a guest that refuses ends the client', async () => {
  await using rig = new VsockRig({ ports: [5001] });
  const client = rig.client('port-5001');
  const request = await rig.op(OP.request);
  rig.send({ op: OP.rst, sourcePort: 5001, destinationPort: request.sourcePort });
  client.resume();
  await ended(client);
  expect(rig.stats.connections).toBe(0);
});

test('the guest reaches a server of the host, and gets a reset where there is none', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  rig.send({ ...ports, data: Buffer.from('ping') });
  expect(String((await once(socket, 'data'))[0])).toBe('ping');
  socket.write('pong');
  expect(String(Buffer.from((await rig.op(OP.rw)).data))).toBe('pong');
  rig.send({ op: OP.request, sourcePort: 9, destinationPort: 99 });
  expect(await rig.op(OP.rst)).toMatchObject({ sourcePort: 99, destinationPort: 9 });
});

test.each([
  ['data', { op: OP.rw, data: new Uint8Array(3) }],
  ['a shutdown', { op: OP.shutdown, flags: 3 }],
  ['a response', { op: OP.response }],
  ['an op that there is not', { op: 99 }],
  ['a request for a type that there is not', { op: OP.request, type: 2 }],
])('%s without a connection is answered with a reset', async (_what, given) => {
  await using rig = new VsockRig();
  rig.send({ ...ports, ...given });
  expect(await rig.packet()).toMatchObject({ op: OP.rst, sourcePort: HOST_PORT, destinationPort: GUEST_PORT });
});

test('a reset is never answered', async () => {
  await using rig = new VsockRig();
  rig.send({ ...ports, op: OP.rst });
  await rig.settle();
  expect(rig.received).toEqual([]);
});

test('packets from or for other CIDs are dropped', async () => {
  await using rig = new VsockRig();
  rig.send({ ...ports, op: OP.request, sourceCid: 7n });
  rig.send({ ...ports, op: OP.request, destinationCid: 3n });
  rig.send({ ...ports, op: OP.request, sourceCid: BigInt(CID) + (1n << 32n) });
  await rig.settle();
  expect(rig.received).toEqual([]);
  expect(rig.stats.malformed).toBe(3);
});

test('the host stops sending, and still gets all that the guest sends', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.end('last words');
  expect(String(Buffer.from((await rig.op(OP.rw)).data))).toBe('last words');
  expect((await rig.op(OP.shutdown)).flags).toBe(SHUTDOWN.send);
  const heard = all(socket);
  rig.send({ ...ports, data: Buffer.from('still ') });
  rig.send({ ...ports, data: Buffer.from('here') });
  rig.send({ ...ports, op: OP.shutdown, flags: SHUTDOWN.both });
  expect(String(await heard)).toBe('still here');
  await rig.op(OP.rst);
  expect(rig.stats.connections).toBe(0);
});

test('the guest stops sending, and still gets all that the host sends', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  const heard = all(socket);
  rig.send({ ...ports, data: Buffer.from('last words') });
  rig.send({ ...ports, op: OP.shutdown, flags: SHUTDOWN.send });
  expect(String(await heard)).toBe('last words');
  socket.end('still here');
  expect(String(Buffer.from((await rig.op(OP.rw)).data))).toBe('still here');
  // Nothing goes either way any more.
  expect((await rig.packet(({ flags }) => flags === SHUTDOWN.both)).op).toBe(OP.shutdown);
  rig.send({ ...ports, op: OP.rst });
  await rig.settle();
  expect(rig.stats.connections).toBe(0);
});

test('the guest stops receiving: the host cannot send any more, and is still heard', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  rig.send({ ...ports, op: OP.shutdown, flags: SHUTDOWN.receive });
  await rig.settle();
  const failed = once(socket, 'error');
  socket.write('nobody listens');
  expect(((await failed)[0] as NodeJS.ErrnoException).code).toBe('EPIPE');
});

test('the host closes without a word: the guest is told within a second or two', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.destroy();
  const flags = (await rig.packet(({ op }) => op === OP.shutdown)).flags;
  expect(flags).toBe(SHUTDOWN.both);
  rig.send({ ...ports, op: OP.rst });
  await rig.settle();
  expect(rig.stats.connections).toBe(0);
});

test('the host closes after it was half closed: noticed although nothing is sent', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.end();
  expect((await rig.op(OP.shutdown)).flags).toBe(SHUTDOWN.send);
  socket.destroy();
  expect((await rig.op(OP.shutdown)).flags).toBe(SHUTDOWN.both);
});

test('what the guest sent before it closed reaches a host that reads late', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.pause();
  const sent = random(200 * 1024);
  for (let at = 0; at < sent.length; at += 50 * 1024) rig.send({ ...ports, data: sent.subarray(at, at + 50 * 1024) });
  rig.send({ ...ports, op: OP.shutdown, flags: SHUTDOWN.both });
  await rig.op(OP.rst);
  rig.send({ ...ports, op: OP.request });
  await rig.settle(50);
  expect(Buffer.compare(await all(socket), sent)).toBe(0);
  expect(rig.stats).toMatchObject({ toHostBytes: sent.length, lingering: 0 });
});

test('a host that does not read stops the guest, and is sent all when it does', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.pause();
  const chunk = random(64 * 1024);
  let told: Packet | undefined;
  rig.onPacket = (packet) => {
    if (packet.op === OP.creditUpdate) told = packet;
  };
  // All that it may: what the device and the kernel hold.
  let sent = 0;
  for (let i = 0; i < 100; i++) {
    const used = (sent - (told?.forwarded ?? 0)) >>> 0;
    if (used + chunk.length > 256 * 1024) break;
    rig.send({ ...ports, data: chunk });
    sent += chunk.length;
    await rig.settle(5);
  }
  expect(sent).toBeLessThan(1024 * 1024);
  const { forwarded } = told ?? { forwarded: 0 };
  let heard = 0;
  socket.on('data', (part: Buffer) => (heard += part.length)).resume();
  await rig.settle(50);
  expect(heard).toBe(sent);
  expect(told?.forwarded).toBeGreaterThan(forwarded);
  expect(told?.bufAlloc).toBe(256 * 1024);
});

test('a guest that does not read stops the host', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig, { bufAlloc: 10_000 });
  const sent = random(50_000);
  socket.write(sent);
  let heard = Buffer.alloc(0);
  let asked = 0;
  rig.onPacket = ({ op, data }) => {
    if (op === OP.rw) heard = Buffer.concat([heard, data]);
    if (op === OP.creditRequest) asked += 1;
  };
  await rig.settle();
  expect(heard.length).toBe(10_000);
  expect(asked).toBe(1);
  for (let i = 0; i < 10; i++) {
    rig.send({ ...ports, op: OP.creditUpdate, bufAlloc: 10_000, forwarded: heard.length });
    await rig.settle(5);
  }
  expect(Buffer.compare(heard, sent)).toBe(0);
});

test('a guest that sends more than it may is reset', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.pause();
  for (let i = 0; i < 40; i++) rig.send({ ...ports, data: new Uint8Array(64 * 1024) });
  await rig.op(OP.rst);
  expect(rig.stats.violations).toBe(1);
  expect(rig.stats.connections).toBe(0);
});

test.each([
  ['says that it passed on what it never got', { op: OP.creditUpdate, forwarded: 5 }],
  ['accepts twice', { op: OP.response }],
  ['asks again', { op: OP.request }],
  ['says that more follows than does', { op: OP.rw, length: 100, data: new Uint8Array(10) }],
  ['changes the type', { op: OP.rw, type: 2, data: new Uint8Array(10) }],
  ['uses an op that there is not', { op: 0 }],
])('a guest that %s is reset', async (_what, given) => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.resume();
  rig.send({ ...ports, ...given });
  await rig.op(OP.rst);
  await ended(socket);
  expect(rig.stats.violations).toBe(1);
});

test('credit is told at a quarter of the smaller side, and when the guest asks', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig, { bufAlloc: 16_384 });
  socket.resume();
  rig.send({ ...ports, bufAlloc: 16_384, data: new Uint8Array(4095) });
  await rig.settle();
  expect(rig.received).toEqual([]);
  rig.send({ ...ports, bufAlloc: 16_384, data: new Uint8Array(1) });
  expect(await rig.packet()).toMatchObject({ op: OP.creditUpdate, forwarded: 4096 });
  rig.send({ ...ports, op: OP.creditRequest });
  expect(await rig.packet()).toMatchObject({ op: OP.creditUpdate, forwarded: 4096 });
});

test('packets fit the buffers of the guest, whatever their size', async () => {
  await using rig = new VsockRig({ rxBytes: 44 + 100 });
  const socket = await fromGuest(rig);
  socket.write(random(1000));
  let heard = 0;
  for (let i = 0; i < 10; i++) {
    const { data } = await rig.op(OP.rw);
    expect(data.length).toBeLessThanOrEqual(100);
    heard += data.length;
  }
  expect(heard).toBe(1000);
});

test('buffers too small for a header are given back, and the rest goes on', async () => {
  await using rig = new VsockRig({ rxBytes: 20 });
  rig.send({ ...ports, op: OP.request });
  await rig.settle();
  expect(rig.stats.malformed).toBeGreaterThan(0);
});

test('without receive buffers nothing is lost and little is held', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  rig.isReading = false;
  // Used up by these.
  for (let i = 0; i < 300; i++) rig.send({ ...ports, op: OP.creditRequest });
  for (let i = 0; i < 300; i++) rig.send({ op: OP.rw, sourcePort: i, destinationPort: 1 });
  socket.write('data');
  socket.end();
  await rig.settle(50);
  rig.resumeReading();
  await rig.settle(50);
  const ops = rig.received.map(({ op }) => op);
  expect(ops.filter((op) => op === OP.rst)).toHaveLength(300);
  expect(ops.filter((op) => op === OP.rw || op === OP.shutdown)).toEqual([OP.rw, OP.shutdown]);
});

test('while the guest takes no answers, its packets are left where they are', async () => {
  await using rig = new VsockRig();
  rig.isReading = false;
  for (let i = 0; i < 3000; i++) rig.send({ op: OP.rw, sourcePort: i, destinationPort: 1 });
  await rig.settle(50);
  expect(rig.stats.resets).toBeLessThan(1500);
  rig.resumeReading();
  await rig.settle(100);
  expect(rig.received.map(({ op, destinationPort }) => [op, destinationPort])).toEqual(
    Array.from({ length: 3000 }, (_, i) => [OP.rst, i]),
  );
});

test('a driver reset ends all connections, and the next driver is served', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.resume();
  rig.device.reset();
  await ended(socket);
  expect(rig.stats.connections).toBe(0);
  rig.send({ ...ports, op: OP.request });
  await rig.op(OP.response);
});

test('connections, data under way and handshakes live on in new code', async () => {
  await using rig = new VsockRig({ ports: [5001] });
  const socket = await fromGuest(rig);
  socket.pause();
  const held = random(220 * 1024);
  for (let at = 0; at < held.length; at += 55 * 1024) rig.send({ ...ports, data: held.subarray(at, at + 55 * 1024) });
  await rig.settle();
  const half = rig.client('vsock.sock');
  half.write('CONNECT 4');
  const asking = rig.client('port-5001');
  const request = await rig.op(OP.request);
  await sleep(20);
  rig.replace();
  half.write('2\n');
  expect((await rig.op(OP.request)).destinationPort).toBe(42);
  rig.send({ op: OP.response, sourcePort: 5001, destinationPort: request.sourcePort });
  asking.write('later');
  expect(String(Buffer.from((await rig.op(OP.rw)).data))).toBe('later');
  rig.send({ ...ports, data: Buffer.from('end') });
  rig.send({ ...ports, op: OP.shutdown, flags: SHUTDOWN.send });
  rig.replace();
  const heard = await all(socket);
  expect(Buffer.compare(heard, Buffer.concat([held, Buffer.from('end')]))).toBe(0);
  socket.write('and back');
  expect(String(Buffer.from((await rig.op(OP.rw)).data))).toBe('and back');
});

test('a state of another process: the guest is told that its connections are over', async () => {
  await using rig = new VsockRig();
  const socket = await fromGuest(rig);
  socket.resume();
  rig.moveElsewhere();
  await rig.op(OP.rst);
  expect(rig.stats.connections).toBe(0);
  expect(await rig.takeEvent()).toBe(0);
  expect(await rig.takeEvent()).toBeUndefined();
  socket.destroy();
});

test('there are no more connections than allowed, and waiting clients get their turn', async () => {
  await using rig = new VsockRig({ ports: [5001], options: { maxConnections: 2 } });
  const clients = [rig.client('port-5001'), rig.client('port-5001'), rig.client('port-5001')];
  for (const client of clients) client.resume();
  const first = await rig.op(OP.request);
  await rig.op(OP.request);
  rig.send({ op: OP.request, sourcePort: 1, destinationPort: HOST_PORT });
  expect(await rig.packet()).toMatchObject({ op: OP.rst, destinationPort: 1 });
  rig.send({ op: OP.rst, sourcePort: 5001, destinationPort: first.sourcePort });
  expect((await rig.op(OP.request)).destinationPort).toBe(5001);
});
