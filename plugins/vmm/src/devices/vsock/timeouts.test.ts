import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Deadlines } from './deadlines.ts';
import { OP, SHUTDOWN } from './packet.ts';
import { random, VsockRig } from './test-rig.ts';

const ports = { sourcePort: 1234, destinationPort: 5000 };

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

test('each waits its time, and what was stopped is not told', () => {
  const expired: string[] = [];
  using deadlines = new Deadlines<string>(100, (item) => expired.push(item));
  deadlines.start('a');
  vi.advanceTimersByTime(50);
  deadlines.start('b');
  deadlines.start('c');
  vi.advanceTimersByTime(50);
  expect(expired).toEqual(['a']);
  deadlines.stop('b');
  deadlines.start('a');
  vi.advanceTimersByTime(50);
  expect(expired).toEqual(['a', 'c']);
  vi.advanceTimersByTime(50);
  expect(expired).toEqual(['a', 'c', 'a']);
  expect(deadlines.size).toBe(0);
  expect(vi.getTimerCount()).toBe(0);
});

test('a client that does not say where it wants to go is sent away', async () => {
  await using rig = new VsockRig();
  const client = rig.client('vsock.sock').resume();
  client.write('CONN');
  await rig.settle();
  vi.advanceTimersByTime(4_900);
  await rig.settle();
  expect(client.readableEnded).toBe(false);
  vi.advanceTimersByTime(200);
  await rig.settle();
  expect(client.readableEnded).toBe(true);
});

test('a guest that does not answer loses the call', async () => {
  await using rig = new VsockRig({ ports: [7] });
  const client = rig.client('port-7').resume();
  await rig.op(OP.request);
  vi.advanceTimersByTime(10_100);
  await rig.op(OP.rst);
  await rig.settle();
  expect(client.readableEnded).toBe(true);
  expect(rig.stats.connections).toBe(0);
});

test('a guest that does not confirm the end is reset after 8 s', async () => {
  await using rig = new VsockRig();
  rig.serve(5000, (socket) => socket.on('error', () => {}).end('x'));
  rig.send({ ...ports, op: OP.request });
  await rig.op(OP.rw);
  rig.send({ ...ports, op: OP.shutdown, flags: SHUTDOWN.send });
  await rig.packet(({ flags }) => flags === SHUTDOWN.both);
  vi.advanceTimersByTime(7_900);
  await rig.settle();
  expect(rig.stats.connections).toBe(1);
  vi.advanceTimersByTime(200);
  await rig.op(OP.rst);
  expect(rig.stats.connections).toBe(0);
});

test('what is left for a host that never reads is dropped after a minute', async () => {
  await using rig = new VsockRig();
  rig.serve(5000, (socket) => socket.on('error', () => {}).pause());
  rig.send({ ...ports, op: OP.request });
  await rig.op(OP.response);
  const data = random(60 * 1024);
  // More than the kernel holds for a socket.
  for (let i = 0; i < 7; i++) {
    rig.send({ ...ports, data });
    await rig.settle(5);
  }
  rig.send({ ...ports, op: OP.shutdown, flags: SHUTDOWN.both });
  await rig.op(OP.rst);
  expect(rig.stats).toMatchObject({ connections: 0, lingering: 1, violations: 0 });
  vi.advanceTimersByTime(61_000);
  expect(rig.stats.lingering).toBe(0);
});
