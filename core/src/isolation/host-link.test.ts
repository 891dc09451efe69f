import type { Socket } from 'node:net';
import { type Duplex, duplexPair } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { errors } from '../core-errors.ts';
import { type FakeClock, fakeClock, flush } from '../test-programs/fake-clock.ts';
import { HostLink, type HostLinkOptions } from './host-link.ts';
import { FLOOD_MS } from './limits.ts';

let clock: FakeClock;
let peer: Duplex;
let near: Duplex;
let syncPeer: Duplex;
let link: HostLink;
let failures: Error[];
const received: string[] = [];

function connect(options: Partial<HostLinkOptions> = {}): void {
  const [messages, far] = duplexPair();
  const [sync, syncFar] = duplexPair();
  near = messages;
  peer = far;
  syncPeer = syncFar;
  peer.on('data', (chunk: Buffer) => received.push(...chunk.toString().trim().split('\n')));
  link = new HostLink({
    plugin: 'p',
    limits: { memoryMb: 64, unresponsiveMs: 1000, messagesPerSecond: 100 },
    clock,
    messages: messages as unknown as Socket,
    sync: sync as unknown as Socket,
    handlers: { call: (_method, args) => args[0], tell: () => {} },
    answerSync: (method, args) => {
      if (method === 'fail') throw errors.CORE_ERR_PERMISSION({ details: { who: 'p', what: 'x' } });
      return args;
    },
    tracing: () => true,
    inspect: () => undefined,
    onFailure: (error) => failures.push(error),
    ...options,
  });
}

beforeEach(() => {
  clock = fakeClock();
  failures = [];
  received.length = 0;
});
afterEach(() => link.close(new Error('the test is over')));

const pong = '{"t":"tell","m":"pong","a":[]}\n';

it('takes silence for a hang only once it is watched, and ends what waits', async () => {
  connect();
  clock.advance(10_000);
  expect(failures).toEqual([]);
  link.watch();
  const call = link.call('work', [], {});
  const ended = expect(call).rejects.toMatchObject({ code: 'CORE_ERR_HOST_UNRESPONSIVE' });
  clock.advance(900);
  expect(failures).toEqual([]);
  clock.advance(400);
  await ended;
  expect(failures).toMatchObject([{ code: 'CORE_ERR_HOST_UNRESPONSIVE' }]);
  clock.advance(10_000);
  expect(failures).toHaveLength(1);
});

it('takes any message for a sign of life', async () => {
  connect();
  link.watch();
  for (let i = 0; i < 50; i++) {
    clock.advance(200);
    peer.write(pong);
    await flush();
  }
  expect(failures).toEqual([]);
  expect(received).toContain('{"t":"tell","m":"ping","a":[true]}');
});

it('slows a flood down, and ends it when it does not stop', async () => {
  let told = 0;
  connect({ handlers: { call: () => undefined, tell: () => told++ } });
  link.watch();
  for (let i = 0; i < 10_000; i++) peer.write(pong);
  await flush();
  const first = told;
  expect(first).toBeLessThan(10_000);
  expect(failures).toEqual([]);
  // However long it takes, no more comes through than is allowed on average.
  for (let elapsed = 0; failures.length === 0; elapsed += 100) {
    expect(elapsed).toBeLessThan(3 * FLOOD_MS);
    expect(told).toBeLessThan(first + 100 + (elapsed * 100) / 1000 + first);
    clock.advance(100);
    for (let i = 0; i < 100; i++) peer.write(pong);
    await flush();
  }
  expect(failures).toMatchObject([{ code: 'CORE_ERR_HOST_FLOOD' }]);
});

it('lets a burst pass that stays within the average', async () => {
  let told = 0;
  connect({ handlers: { call: () => undefined, tell: () => told++ } });
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 100; i++) peer.write(pong);
    await flush();
    clock.advance(1500);
    await flush();
  }
  expect(told).toBe(2000);
  expect(failures).toEqual([]);
});

it('ends a process that holds too much', () => {
  const problem = errors.CORE_ERR_HOST_FLOOD({ details: { plugin: 'p', why: 'too much' } });
  connect({ inspect: () => problem });
  clock.advance(200);
  expect(failures).toEqual([problem]);
});

it('answers what is asked while the process waits, errors as well', async () => {
  connect();
  const answers: unknown[] = [];
  syncPeer.on('data', (chunk: Buffer) => {
    for (const line of chunk.toString().trim().split('\n')) answers.push(JSON.parse(line));
  });
  syncPeer.write('{"id":1,"m":"echo","a":[{"$t":"bigint","v":"7"}]}\n{"id":2,"m":"fail","a":[]}\n');
  await flush();
  await flush();
  expect(answers).toMatchObject([
    { id: 1, v: [{ $t: 'bigint', v: '7' }] },
    { id: 2, e: { $t: 'error', v: { code: 'CORE_ERR_PERMISSION' } } },
  ]);
});

it('fails when the channel ends and nobody says why', async () => {
  connect();
  near.destroy();
  const ended = expect(link.call('work', [], {})).rejects.toMatchObject({ code: 'CORE_ERR_HOST_GONE' });
  await flush();
  clock.advance(1_000);
  await ended;
  await flush();
  expect(failures).toMatchObject([{ code: 'CORE_ERR_HOST_GONE' }]);
});
