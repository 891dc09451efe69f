// Guests that mean harm, against everything of the host that they can reach but devices: where they call the host, and what
// the host calls in them. The host is a process of its own; its guests are this one, which has no VM, only its sockets.

import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HOST_PORTS } from '../../plugins/crostini/src/concierge/ports.ts';
import { addRpcService, RpcClient, type RpcHandlers } from '../../plugins/crostini/src/rpc/rpc.ts';
import { frames } from '../../plugins/crostini/src/vsh/framing.ts';
import { guestWire } from '../../plugins/crostini/src/wire/index.ts';
import type { HostCalls, HostStats, VshOutcome } from '../programs/host-of-guests.ts';
import { FLAG, FRAME, field, frame, grpcHeaders, grpcPrefix, PREFACE } from './http2-frames.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** Nothing that a guest does may cost the host more than this, in bytes. */
const MAX_GROWTH = 192 * MIB;
/** The host answers others within this time whatever a guest does, ms. */
const PATIENCE_MS = 5_000;
const VM_READY = '/vm_tools.StartupListener/VmReady';

// The host

type Answered<F> = F extends (...args: never) => infer R ? Promise<Awaited<R>> : never;

class Host {
  readonly child: ChildProcess;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  readonly ready: Promise<unknown>;
  #last = 0;

  constructor() {
    this.child = fork(join(import.meta.dirname, '../programs/host-of-guests.ts'), {
      execArgv: ['--conditions=@runtime/source', '--expose-gc'],
    });
    const ready = Promise.withResolvers<unknown>();
    this.ready = ready.promise;
    this.#waiting.set(0, ready);
    this.child.on('message', (message: { id: number; value?: unknown; error?: { message: string; code: string } }) => {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error === undefined) waiting?.resolve(message.value);
      else waiting?.reject(Object.assign(new Error(message.error.message), message.error));
    });
    this.child.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the host ended: ${signal ?? code}`));
    });
  }

  ask<K extends keyof HostCalls>(what: K, ...args: Parameters<HostCalls[K]>): Answered<HostCalls[K]> {
    const waiting = Promise.withResolvers<unknown>();
    this.#last += 1;
    this.#waiting.set(this.#last, waiting);
    this.child.send({ id: this.#last, what, args });
    return waiting.promise as Answered<HostCalls[K]>;
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.disconnect();
    await exited;
  }
}

let host: Host;
const parts: Disposable[] = [];

/** Where a VM calls the port of the host. */
async function hostPath(vm: string, port: number): Promise<string> {
  const path = await host.ask('answer', `t-${vm}`, port);
  if (path === undefined) throw new Error(`nobody answers port ${port}`);
  return path;
}

async function callReady(path: string): Promise<void> {
  using client = new RpcClient(guestWire, 'vm_tools.StartupListener', `unix:${path}`);
  await client.call.VmReady({}, { deadlineMs: PATIENCE_MS });
}

/** Plays a guest that keeps to the rules: it says that it is ready, and does what it is asked. */
async function goodMaitred(vm: string): Promise<void> {
  const server = new GrpcServer();
  const methods = Object.keys(guestWire.table.services['vm_tools.Maitred']);
  const handlers = Object.fromEntries(methods.map((method) => [method, async () => ({})]));
  addRpcService(
    server,
    guestWire,
    'vm_tools.Maitred',
    handlers as unknown as RpcHandlers<typeof guestWire.table, 'vm_tools.Maitred'>,
  );
  const directory = await directoryOf(vm);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${directory}/vsock.sock.g8888`, ServerCredentials.createInsecure(), (e) =>
      e === null ? resolve() : reject(e),
    );
  });
  parts.push({ [Symbol.dispose]: () => server.forceShutdown() });
}

async function directoryOf(vm: string): Promise<string> {
  for (;;) {
    const directory = await host.ask('directory', `t-${vm}`);
    if (directory !== undefined) return directory;
    await sleep(10);
  }
}

beforeAll(async () => {
  host = new Host();
  await host.ready;
  const start = host.ask('start', 'good', 10_000);
  await goodMaitred('good');
  await callReady(await hostPath('good', HOST_PORTS.startup));
  expect(await start).toMatchObject({ name: 'good', state: 'running' });
});
afterAll(async () => {
  for (const part of parts) part[Symbol.dispose]();
  await host.end();
});

/** What the others have, during an attack and after it. */
async function expectWell(): Promise<void> {
  await callReady(await hostPath('good', HOST_PORTS.startup));
  expect(await host.ask('list')).toMatchObject([{ name: 'good', state: 'running' }]);
}

async function settled(before: HostStats): Promise<void> {
  // Sockets of the guest that has gone close in their own time.
  await expect
    .poll(async () => (await host.ask('stats')).descriptors, { timeout: PATIENCE_MS })
    .toBeLessThanOrEqual(before.descriptors + 3);
}

// Guests

/** Writes as long as the host reads, for `forMs` at most. Resolves when the host has hung up, too. */
async function flood(path: string, first: Buffer, more: Buffer | undefined, forMs: number): Promise<number> {
  const socket = connect(path);
  let sent = 0;
  const over = Promise.withResolvers<void>();
  const write = (): void => {
    while (more !== undefined && !socket.destroyed) {
      sent += more.length;
      if (!socket.write(more)) return;
    }
  };
  socket.on('error', () => {});
  socket.on('close', () => over.resolve());
  socket.on('drain', write);
  socket.write(first);
  write();
  const timer = setTimeout(() => over.resolve(), forMs);
  await over.promise;
  clearTimeout(timer);
  socket.destroy();
  return sent;
}

const hello = Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]);
const call = (stream: number, flags: number): Buffer => frame(FRAME.headers, flags, stream, grpcHeaders(VM_READY));
const open = call(1, FLAG.endHeaders);
const piece = Buffer.alloc(16_000, 'x');
const many = (count: number, one: (at: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, at) => one(at)));

interface Flood {
  readonly what: string;
  readonly connections: number;
  readonly first: Buffer;
  /** Again and again. */
  readonly more?: Buffer;
}

const floods: readonly Flood[] = [
  { what: 'random bytes', connections: 50, first: randomBytes(1000), more: randomBytes(60_000) },
  { what: 'random frames after the right beginning', connections: 50, first: hello, more: randomBytes(60_000) },
  {
    what: 'a message of 1 GiB',
    connections: 10,
    first: Buffer.concat([hello, open, frame(FRAME.data, 0, 1, grpcPrefix(GIB))]),
    more: frame(FRAME.data, 0, 1, piece),
  },
  {
    what: 'header fields without an end',
    connections: 10,
    first: Buffer.concat([hello, frame(FRAME.headers, 0, 1, grpcHeaders(VM_READY))]),
    more: frame(
      FRAME.continuation,
      0,
      1,
      many(100, (at) => field(`x-${at}`, 'y'.repeat(100))),
    ),
  },
  {
    what: 'calls that are taken back at once',
    connections: 4,
    first: Buffer.concat([
      hello,
      many(5_000, (at) =>
        Buffer.concat([
          call(2 * at + 1, FLAG.endHeaders | FLAG.endStream),
          frame(FRAME.reset, 0, 2 * at + 1, Buffer.of(0, 0, 0, 8)),
        ]),
      ),
    ]),
  },
  {
    what: 'more calls at once than are allowed',
    connections: 10,
    first: Buffer.concat([hello, many(1_000, (at) => call(2 * at + 1, FLAG.endHeaders))]),
  },
  {
    what: 'pings whose answers are not read',
    connections: 4,
    first: hello,
    more: many(1_000, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))),
  },
  {
    what: 'settings over and over',
    connections: 4,
    first: hello,
    more: many(1_000, () => frame(FRAME.settings, 0, 0)),
  },
  { what: 'a beginning that does not go on', connections: 50, first: PREFACE.subarray(0, 10) },
];

describe.each(Object.entries(HOST_PORTS))('port %s of the host', (_, port) => {
  test.each(floods)('$what', { timeout: 30_000 }, async ({ connections, first, more }) => {
    const path = await hostPath('good', port);
    const before = await host.ask('stats');
    const attack = Promise.all(Array.from({ length: connections }, () => flood(path, first, more, 1_500)));
    await sleep(200);
    await expectWell();
    await attack;
    const after = await host.ask('stats');
    expect(after.rss - before.rss).toBeLessThan(MAX_GROWTH);
    await settled(before);
    await expectWell();
  });

  test('a thousand connections', { timeout: 30_000 }, async () => {
    const path = await hostPath('good', port);
    const before = await host.ask('stats');
    const sockets: Socket[] = [];
    for (let i = 0; i < 1_000; i++) {
      const socket = connect(path);
      socket.on('error', () => {});
      socket.write(hello);
      sockets.push(socket);
    }
    await sleep(500);
    await expectWell();
    expect((await host.ask('stats')).rss - before.rss).toBeLessThan(MAX_GROWTH);
    for (const socket of sockets) socket.destroy();
    await settled(before);
    await expectWell();
  });

  test('answers nobody but its own VM', async () => {
    const start = host.ask('start', 'other', 1_500);
    start.catch(() => {});
    await directoryOf('other');
    const own = await hostPath('good', port);
    expect(await hostPath('other', port)).not.toBe(own);
    expect(await host.ask('answer', 't-nobody', port)).toBeUndefined();
    // Who is ready is who calls, not who is meant.
    if (port === HOST_PORTS.startup) await callReady(own);
    expect(await host.ask('list')).toMatchObject([
      { name: 'good', state: 'running' },
      { name: 'other', state: 'starting' },
    ]);
    await expect(start).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_SILENT' });
    await expectWell();
  });
});

// What the host calls

/** A guest that calls, and answers the host's calls at this port with what it likes. */
async function listenInGuest(
  vm: string,
  port: number,
  onConnection: (socket: Socket) => void,
): Promise<Disposable & { readonly path: string }> {
  const path = join(await directoryOf(vm), `vsock.sock.g${port}`);
  rmSync(path, { force: true });
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  }).listen(path);
  await once(server, 'listening');
  return {
    path,
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Writes this, and then that as long as it is read. */
function pour(socket: Socket, first: Uint8Array, more: Uint8Array): void {
  const write = (): void => {
    while (!socket.destroyed && socket.write(more));
  };
  socket.resume();
  socket.on('drain', write);
  socket.write(first);
  write();
}

const settings = frame(FRAME.settings, 0, 0);
// :status 200, content-type application/grpc
const answerHead = Buffer.concat([Buffer.of(0x88, 0x0f, 0x10, 16), Buffer.from('application/grpc')]);
const answerOpen = frame(FRAME.headers, FLAG.endHeaders, 1, answerHead);

const maitreds: readonly (readonly [what: string, serve: (socket: Socket) => void])[] = [
  ['answers with random bytes', (socket) => pour(socket, randomBytes(500), randomBytes(60_000))],
  ['hangs up', (socket) => socket.destroy()],
  ['hangs up once it was asked', (socket) => socket.once('data', () => socket.destroy())],
  [
    'answers with a message of 1 GiB',
    (socket) =>
      socket.once('data', () =>
        pour(
          socket,
          Buffer.concat([settings, answerOpen, frame(FRAME.data, 0, 1, grpcPrefix(GIB))]),
          frame(FRAME.data, 0, 1, piece),
        ),
      ),
  ],
  [
    'answers with header fields without an end',
    (socket) =>
      socket.once('data', () =>
        pour(
          socket,
          Buffer.concat([settings, frame(FRAME.headers, 0, 1, answerHead)]),
          frame(
            FRAME.continuation,
            0,
            1,
            many(100, (at) => field(`x-${at}`, 'y'.repeat(100))),
          ),
        ),
      ),
  ],
  [
    'answers with something else',
    (socket) =>
      socket.once('data', () =>
        socket.write(
          Buffer.concat([
            ...[settings, answerOpen],
            frame(FRAME.data, FLAG.endStream, 1, Buffer.concat([grpcPrefix(9), Buffer.alloc(9, 0xff)])),
          ]),
        ),
      ),
  ],
  [
    'says goodbye each time',
    (socket) =>
      socket.once('data', () => socket.end(Buffer.concat([settings, frame(FRAME.goAway, 0, 0, Buffer.alloc(8))]))),
  ],
  [
    'pings without an end',
    (socket) =>
      pour(
        socket,
        settings,
        many(1_000, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))),
      ),
  ],
];

describe('a maitred that', () => {
  test.each(maitreds)('%s', { timeout: 40_000 }, async (_, serve) => {
    const before = await host.ask('stats');
    const start = host.ask('start', 'liar', 10_000);
    start.catch(() => {});
    using _guest = await listenInGuest('liar', 8888, serve);
    await callReady(await hostPath('liar', HOST_PORTS.startup));
    const outcome = await Promise.race([start.catch((e: unknown) => e), sleep(PATIENCE_MS)]);
    await callReady(await hostPath('good', HOST_PORTS.startup));
    // One that is only slow is given 20 s by the host; whoever waits may end it before.
    if (outcome === undefined) await host.ask('stop', 'liar');
    await expect(start).rejects.toMatchObject({ code: expect.stringMatching(/^CROSTINI_ERR_VM_/) });
    expect((await host.ask('stats')).rss - before.rss).toBeLessThan(MAX_GROWTH);
    await expectWell();
    expect((await host.ask('leases')).filter((lease) => lease.includes('liar'))).toEqual([]);
  });

  test('says nothing can be stopped', async () => {
    const start = host.ask('start', 'liar', 10_000);
    start.catch(() => {});
    using _guest = await listenInGuest('liar', 8888, (socket) => socket.resume());
    await callReady(await hostPath('liar', HOST_PORTS.startup));
    await sleep(300);
    expect(await host.ask('list')).toMatchObject([{ name: 'good' }, { name: 'liar', state: 'starting' }]);
    await host.ask('stop', 'liar');
    await expect(start).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_STATE' });
    await expectWell();
  });
});

const ready = frames([guestWire.encode('vm_tools.vsh.SetupConnectionResponse', { status: 'READY', pid: 7 })]);
const output = (stream: 'STDOUT_STREAM' | 'STDERR_STREAM'): Buffer =>
  frames(
    Array.from({ length: 16 }, () =>
      guestWire.encode('vm_tools.vsh.HostMessage', { data_message: { stream, data: piece.subarray(0, 4000) } }),
    ),
  );
const lengthOf = (bytes: number): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes);
  return length;
};

/** Which end it makes for whoever reads, and for whoever does not: the code of an error. */
const vshds: readonly (readonly [what: string, serve: (socket: Socket) => void, end: RegExp])[] = [
  ['random bytes', (socket) => pour(socket, randomBytes(500), randomBytes(60_000)), /^CROSTINI_ERR_VSH_/],
  ['a message of 1 GiB', (socket) => pour(socket, lengthOf(GIB), piece), /^CROSTINI_ERR_VSH_FRAME$/],
  [
    'a message of 1 GiB later',
    (socket) => pour(socket, Buffer.concat([ready, lengthOf(GIB)]), piece),
    /^CROSTINI_ERR_VSH_FRAME$/,
  ],
  ['messages without content', (socket) => pour(socket, ready, Buffer.alloc(60_000)), /^TimeoutError$/],
  ['output without an end', (socket) => pour(socket, ready, output('STDOUT_STREAM')), /^TimeoutError$/],
  ['errors without an end', (socket) => pour(socket, ready, output('STDERR_STREAM')), /^TimeoutError$/],
  ['nothing', (socket) => socket.resume(), /^(TimeoutError|CROSTINI_ERR_VSH_UNREACHABLE)$/],
  ['a hang-up', (socket) => socket.destroy(), /^CROSTINI_ERR_VSH_UNREACHABLE$/],
  ['a hang-up in the midst', (socket) => socket.end(Buffer.concat([ready, lengthOf(100)])), /^CROSTINI_ERR_VSH_LOST$/],
];

describe('a vshd that sends', () => {
  test.each(vshds)('%s', { timeout: 30_000 }, async (_, serve, end) => {
    using guest = await listenInGuest('good', 9001, serve);
    const before = await host.ask('stats');
    const sessions = Promise.all(
      [true, false, true, false].map((reads): Promise<VshOutcome> => host.ask('vsh', guest.path, reads, 1_500)),
    );
    await sleep(200);
    await expectWell();
    for (const outcome of await sessions) expect(String(outcome.end)).toMatch(end);
    expect((await host.ask('stats')).rss - before.rss).toBeLessThan(MAX_GROWTH);
    await expectWell();
  });
});
