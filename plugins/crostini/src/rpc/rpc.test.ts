import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { GrpcStatus } from '@runtime/sdk/errors';
import { Protobuf } from '@runtime/sdk/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errors } from '../errors.ts';
import { addRpcService, RpcClient, type RpcHandlers } from './rpc.ts';

const wire = new Protobuf({
  messages: { 't.Ask': { text: [1, 'string'] }, 't.Answer': { text: [1, 'string'], n: [2, 'int64'] } },
  enums: {},
  services: { 't.Echo': { Say: ['t.Ask', 't.Answer'], Throw: ['t.Ask', 't.Answer'], Wait: ['t.Ask', 't.Answer'] } },
} as const);
type Table = (typeof wire)['table'];

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

async function serve(handlers: Partial<RpcHandlers<Table, 't.Echo'>>): Promise<RpcClient<Table, 't.Echo'>> {
  const server = new Server();
  const unused = () => Promise.reject(new Error('this is not called here'));
  addRpcService(server, wire, 't.Echo', { Say: unused, Throw: unused, Wait: unused, ...handlers });
  const address = `unix:${join(folder, 's')}`;
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(address, ServerCredentials.createInsecure(), (e) => (e === null ? resolve() : reject(e))),
  );
  stack.defer(() => server.forceShutdown());
  return stack.use(new RpcClient(wire, 't.Echo', address));
}

/** Something that is no gRPC server. */
async function answerWith(onConnection: (socket: Socket) => void): Promise<RpcClient<Table, 't.Echo'>> {
  const path = join(folder, 'other');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  }).listen(path);
  await once(server, 'listening');
  stack.defer(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return stack.use(new RpcClient(wire, 't.Echo', `unix:${path}`));
}

test('requests and answers have all their fields', async () => {
  const { call } = await serve({ Say: async ({ text }) => ({ text: `${text}!`, n: 2n ** 62n }) });
  expect(await call.Say({ text: 'ä' })).toEqual({ text: 'ä!', n: 2n ** 62n });
  expect(await call.Say({})).toEqual({ text: '!', n: 2n ** 62n });
});

test('errors keep their status and their words, whether they come at once or later', async () => {
  const { call } = await serve({
    Say: () => {
      throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: 'ünlü' } });
    },
    Throw: () => Promise.reject(errors.CROSTINI_ERR_VM_STATE({ details: { vm: 'a', state: 'off', verb: 'stopped' } })),
    Wait: () => Promise.reject(new Error('nobody thought of this')),
  });
  await expect(call.Say({})).rejects.toMatchObject({
    ...{ code: GrpcStatus.notFound, details: 'there is no VM called "ünlü"' },
  });
  await expect(call.Throw({})).rejects.toMatchObject({ code: GrpcStatus.failedPrecondition });
  await expect(call.Wait({})).rejects.toMatchObject({ code: GrpcStatus.unknown, details: 'nobody thought of this' });
});

test('a call ends at its deadline, and its handler is told', async () => {
  const aborted = Promise.withResolvers<void>();
  const { call } = await serve({
    Wait: (_, { signal }) => {
      signal.addEventListener('abort', () => aborted.resolve());
      return new Promise(() => {});
    },
  });
  await expect(call.Wait({}, { deadlineMs: 50 })).rejects.toMatchObject({ code: GrpcStatus.deadlineExceeded });
  await aborted.promise;
});

test('a call can be given up, before it begins and while it runs', async () => {
  const begun = Promise.withResolvers<void>();
  const { call } = await serve({
    Wait: () => {
      begun.resolve();
      return new Promise(() => {});
    },
  });
  await expect(call.Wait({}, { signal: AbortSignal.abort(new Error('too late')) })).rejects.toThrow('too late');
  const controller = new AbortController();
  const waiting = call.Wait({}, { signal: controller.signal });
  await begun.promise;
  controller.abort();
  await expect(waiting).rejects.toMatchObject({ code: GrpcStatus.cancelled });
});

test('a request or an answer that is no such message is an error of this call only', async () => {
  const wrong = new Protobuf({
    ...wire.table,
    messages: { 't.Ask': { text: [1, 'int32'] }, 't.Answer': { text: [1, 'int32'] } },
  } as const);
  const { call } = await serve({ Say: async () => ({ text: 'a' }) });
  using other = new RpcClient(wrong, 't.Echo', `unix:${join(folder, 's')}`);
  await expect(other.call.Say({ text: 5 })).rejects.toMatchObject({ code: GrpcStatus.internal });
  await expect(other.call.Say({})).rejects.toMatchObject({ code: GrpcStatus.internal });
  expect(await call.Say({})).toMatchObject({ text: 'a' });
});

test('what is larger than a message may be is refused', async () => {
  const { call } = await serve({ Say: async () => ({ text: 'x'.repeat(5_000_000) }) });
  await expect(call.Say({})).rejects.toMatchObject({ code: GrpcStatus.resourceExhausted });
  await expect(call.Say({ text: 'x'.repeat(5_000_000) })).rejects.toMatchObject({ code: GrpcStatus.resourceExhausted });
});

test('garbage, silence and nobody are errors, in time', async () => {
  const garbage = await answerWith((socket) => socket.end(randomBytes(500)));
  await expect(garbage.call.Say({}, { deadlineMs: 2000 })).rejects.toMatchObject({ code: expect.any(Number) });
  using nobody = new RpcClient(wire, 't.Echo', `unix:${join(folder, 'nowhere')}`);
  await expect(nobody.call.Say({}, { deadlineMs: 2000 })).rejects.toMatchObject({ code: GrpcStatus.unavailable });
});

test('whoever accepts and says nothing is not waited for', async () => {
  const silent = await answerWith((socket) => socket.resume());
  await expect(silent.call.Say({}, { deadlineMs: 200 })).rejects.toMatchObject({ code: GrpcStatus.deadlineExceeded });
});
