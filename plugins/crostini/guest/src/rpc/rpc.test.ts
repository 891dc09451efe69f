import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2, createServer as createHttp2 } from 'node:http2';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { GrpcStatus } from '@runtime/sdk/errors';
import { Protobuf } from '@runtime/sdk/protobuf';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errors } from '../../../src/errors.ts';
import { decodeStatusMessage, encodeStatusMessage, frameOf } from '../../../src/rpc/frame.ts';
import { addRpcService, RpcClient, type RpcHandlers } from '../../../src/rpc/rpc.ts';
import { callUnary } from '../../../src/rpc/unary.ts';
import { RpcServer } from './server.ts';

const wire = new Protobuf({
  messages: { 't.Ask': { text: [1, 'string'] }, 't.Answer': { text: [1, 'string'] } },
  enums: {},
  services: { 't.Echo': { Say: ['t.Ask', 't.Answer'], Other: ['t.Ask', 't.Answer'] } },
} as const);
type Table = (typeof wire)['table'];
type Handlers = RpcHandlers<Table, 't.Echo'>;

const say: Handlers['Say'] = ({ text }) => Promise.resolve({ text: `${text}!` });

let folder: string;
let stack: AsyncDisposableStack;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rpc-'));
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  await stack.disposeAsync();
  rmSync(folder, { recursive: true, force: true });
});

async function listen(onConnection: (socket: Socket) => void): Promise<string> {
  const path = join(folder, 'socket');
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  });
  server.listen(path);
  await once(server, 'listening');
  stack.defer(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return path;
}

/** The server of the guest, called by grpc-js. */
async function ours(
  handlers: Partial<Handlers>,
): Promise<{ client: RpcClient<Table, 't.Echo'>; wrong: unknown[]; path: string }> {
  const wrong: unknown[] = [];
  const server = new RpcServer((e) => wrong.push(e));
  server.add(wire, 't.Echo', { Say: say, Other: say, ...handlers });
  const path = await listen((socket) => server.accept(socket));
  const client = new RpcClient(wire, 't.Echo', `unix:${path}`);
  stack.defer(() => client[Symbol.dispose]());
  return { client, wrong, path };
}

test('grpc-js is answered, small and large', async () => {
  const { client } = await ours({});
  expect(await client.call.Say({ text: 'ä' })).toEqual({ text: 'ä!' });
  const large = randomBytes(1_000_000).toString('hex');
  expect((await client.call.Other({ text: large })).text).toBe(`${large}!`);
  const many = await Promise.all(Array.from({ length: 300 }, (_, i) => client.call.Say({ text: String(i) })));
  expect(many.map(({ text }) => text)).toEqual(Array.from({ length: 300 }, (_, i) => `${i}!`));
});

test('an error of the runtime keeps its status and message, any other is told as well as answered', async () => {
  const { client, wrong } = await ours({
    Say: () => Promise.reject(errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: 'ünlü%' } })),
    Other: () => Promise.reject(new Error('so not')),
  });
  await expect(client.call.Say({})).rejects.toMatchObject({
    code: GrpcStatus.notFound,
    details: 'there is no VM called "ünlü%"',
  });
  expect(wrong).toEqual([]);
  await expect(client.call.Other({})).rejects.toMatchObject({ code: GrpcStatus.unknown, details: 'so not' });
  expect(wrong).toHaveLength(1);
});

test('a handler is told that its caller has given up', async () => {
  const given = Promise.withResolvers<void>();
  const { client } = await ours({
    Say: (_, { signal }) => {
      signal.addEventListener('abort', () => given.resolve());
      return new Promise(() => {});
    },
  });
  await expect(client.call.Say({}, { deadlineMs: 50 })).rejects.toMatchObject({ code: GrpcStatus.deadlineExceeded });
  await given.promise;
});

test('what is no call of ours is refused', async () => {
  const { client, path } = await ours({});
  const more = new Protobuf({ ...wire.table, services: { 't.Echo': { Nothing: ['t.Ask', 't.Answer'] } } } as const);
  using other = new RpcClient(more, 't.Echo', `unix:${path}`);
  await expect(other.call.Nothing({})).rejects.toMatchObject({ code: GrpcStatus.unimplemented });
  await expect(client.call.Say({ text: 'x'.repeat(5_000_000) })).rejects.toMatchObject({
    code: GrpcStatus.resourceExhausted,
  });
  const http = connectHttp2('http://localhost', { createConnection: () => connect(path) });
  const get = http.request({ ':path': '/' });
  const [{ ':status': status }] = (await once(get, 'response')) as [{ ':status': number }];
  expect(status).toBe(405);
  http.destroy();
  // Still there.
  expect(await client.call.Say({ text: 'a' })).toEqual({ text: 'a!' });
});

test('garbage ends its own connection only', async () => {
  const { client, path } = await ours({});
  for (let i = 0; i < 20; i++) {
    const socket = connect(path);
    socket.on('error', () => {});
    socket.write(randomBytes(1000));
    socket.resume();
    await once(socket, 'close');
  }
  const http = connectHttp2('http://localhost', { createConnection: () => connect(path) });
  for (const body of [Buffer.of(), Buffer.of(1, 0, 0, 0, 0), Buffer.of(0, 255, 255, 255, 255), randomBytes(100)]) {
    const call = http.request({ ':method': 'POST', ':path': '/t.Echo/Say', 'content-type': 'application/grpc' });
    call.end(body);
    const [{ 'grpc-status': status }] = (await once(call, 'response')) as [{ 'grpc-status': string }];
    expect(Number(status)).toBeGreaterThan(0);
  }
  http.destroy();
  expect(await client.call.Say({ text: 'a' })).toEqual({ text: 'a!' });
});

/** grpc-js as the server, called by the client of the guest. */
async function theirs(handlers: Partial<Handlers>): Promise<string> {
  const server = new GrpcServer();
  addRpcService(server, wire, 't.Echo', { Say: say, Other: say, ...handlers });
  const path = join(folder, 'grpc');
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (e) => (e === null ? resolve() : reject(e))),
  );
  stack.defer(() => server.forceShutdown());
  return path;
}

function call(path: string, text: string, deadlineMs = 5000): Promise<{ readonly text: string }> {
  const dial = async (): Promise<Socket> => {
    const socket = connect(path);
    await once(socket, 'connect');
    return socket;
  };
  return callUnary({ wire, service: 't.Echo', method: 'Say', request: { text }, dial, deadlineMs });
}

test('grpc-js answers, and its errors keep their status', async () => {
  const path = await theirs({
    Say: (request, context) =>
      request.text === 'no'
        ? Promise.reject(errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: 'ünlü' } }))
        : say(request, context),
  });
  const large = 'x'.repeat(500_000);
  expect(await call(path, 'ä')).toEqual({ text: 'ä!' });
  expect((await call(path, large)).text).toBe(`${large}!`);
  await expect(call(path, 'no')).rejects.toMatchObject({
    status: GrpcStatus.notFound,
    message: 'there is no VM called "ünlü"',
  });
});

test('a call ends at its deadline', async () => {
  const path = await theirs({ Say: () => new Promise(() => {}) });
  await expect(call(path, 'a', 200)).rejects.toThrow();
  const silent = await listen(() => {});
  await expect(call(silent, 'a', 200)).rejects.toThrow();
});

test('what answers with something else is an error', async () => {
  const hangup = await listen((socket) => socket.destroy());
  await expect(call(hangup, 'a')).rejects.toThrow();
});

test('what answers with garbage is an error', async () => {
  const garbage = await listen((socket) => socket.end(randomBytes(500)));
  await expect(call(garbage, 'a')).rejects.toThrow();
});

test('answers without a message, of another length, or without a status are errors', async () => {
  const answers = [Buffer.of(), Buffer.of(0, 0, 0, 0, 9), frameOf(wire.encode('t.Answer', { text: 'a' }))];
  const server = createHttp2();
  server.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
    stream.end(answers.shift());
  });
  const path = await listen((socket) => server.emit('connection', socket));
  while (answers.length > 0) await expect(call(path, 'a')).rejects.toMatchObject({ name: 'RpcError' });
});

test('messages of errors survive their way', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 100 }), (text) => {
      const sent = encodeStatusMessage(text);
      expect(sent).toMatch(/^[\x20-\x7e]*$/);
      if (Buffer.byteLength(text) <= 1024) expect(decodeStatusMessage(sent)).toBe(text.toWellFormed());
    }),
  );
});
