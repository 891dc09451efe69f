// cicerone, with a tremplin and a garcon that are played.

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { definePlugin } from '@runtime/sdk';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RpcServer } from '../../guest/src/rpc/server.ts';
import { addRpcService, RpcClient, type RpcHandlers } from '../rpc/rpc.ts';
import { containersWire } from '../wire/index.ts';
import { CiceroneManager } from './cicerone-manager.ts';

type Wire = typeof containersWire.table;
type TremplinCalls = RpcHandlers<Wire, 'vm_tools.tremplin.Tremplin'>;

const KEY = { owner: 'ab', name: 'vm' };
const PENGUIN = { vm: 'vm', owner: 'ab', container: 'penguin' };
const GARCON_PORT = 10_000;

let folder: string;
let runtime: TestRuntime;
let cicerone: CiceroneManager;
let stack: AsyncDisposableStack;
/** What tremplin answers, by the name of the call; what is not here succeeds at once. */
let answers: Record<string, object>;
let calls: [method: string, request: Record<string, unknown>][];
let events: string[];

const socketPath = (port: number): string => join(folder, `host.${port}`);

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ci-'));
  stack = new AsyncDisposableStack();
  [answers, calls, events] = [{}, [], []];
  await startTremplin();
  await startCicerone();
});
afterEach(async () => {
  await stack.disposeAsync();
  rmSync(folder, { recursive: true });
});

async function startCicerone(isNew = true): Promise<Disposable> {
  const made = Promise.withResolvers<CiceroneManager>();
  const plugin = definePlugin({
    name: 'test-cicerone',
    setup(ctx) {
      ctx.events.on('container:started', ({ container }) => void events.push(`started ${container}`));
      ctx.events.on('container:stopped', ({ container }) => void events.push(`stopped ${container}`));
      const concierge = { endpoint: async () => ({ cid: 32, directory: folder }) };
      made.resolve(new CiceroneManager({ context: ctx, concierge }));
    },
  });
  runtime = stack.use(await createTestRuntime({ plugins: [plugin], stateDirectory: join(folder, 'state') }));
  cicerone = await made.promise;
  return stack.use(await cicerone.watch({ key: KEY, machine: 'm', socketPath, isNew }));
}

async function startTremplin(): Promise<void> {
  const good: Record<string, object> = {
    StartLxd: { status: 'ALREADY_RUNNING' },
    CreateContainer: { status: 'CREATING' },
    StartContainer: { status: 'STARTING' },
    StopContainer: { status: 'STOPPED' },
    DeleteContainer: { status: 'DELETING' },
    SetUpUser: { status: 'SUCCESS', username: 'ada' },
    GetContainerInfo: { status: 'RUNNING', ipv4_address: 0xc25c7364 },
    GetContainerUsername: { status: 'SUCCESS', username: 'ada', homedir: '/home/ada' },
  };
  const methods = Object.keys(containersWire.table.services['vm_tools.tremplin.Tremplin']);
  const handlers = Object.fromEntries(
    methods.map((method) => [
      method,
      async (request: Record<string, unknown>) => {
        calls.push([method, request]);
        return answers[method] ?? good[method] ?? {};
      },
    ]),
  ) as unknown as TremplinCalls;
  const server = new Server();
  addRpcService(server, containersWire, 'vm_tools.tremplin.Tremplin', handlers);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${folder}/vsock.sock.g8890`, ServerCredentials.createInsecure(), (e) =>
      e === null ? resolve() : reject(e),
    );
  });
  stack.defer(() => server.forceShutdown());
}

/** As tremplin. */
function listener() {
  return stack.use(new RpcClient(containersWire, 'vm_tools.tremplin.TremplinListener', `unix:${socketPath(7778)}`))
    .call;
}

/** As something in a container. */
function container() {
  const address = `unix:${socketPath(8889)}`;
  // Not the connection of a runtime that has ended.
  const options = { 'grpc.use_local_subchannel_pool': 1 };
  return stack.use(new RpcClient(containersWire, 'vm_tools.container.ContainerListener', address, options)).call;
}

async function called(method: string): Promise<Record<string, unknown>> {
  for (;;) {
    const found = calls.find(([name]) => name === method);
    if (found !== undefined) return found[1];
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function started(): Promise<string> {
  await listener().TremplinReady({});
  const starting = cicerone.startContainer(PENGUIN);
  const token = String((await called('StartContainer')).token);
  await listener().UpdateStartStatus({ container_name: 'penguin', status: 'STARTED' });
  await container().ContainerReady({ token, garcon_port: GARCON_PORT });
  expect(await starting).toEqual({
    ...{ name: 'penguin', vm: 'vm', owner: 'ab', state: 'running' },
    ...{ username: 'ada', homedir: '/home/ada', ipv4: '100.115.92.194' },
  });
  return token;
}

test('a container runs when its garcon has called with its token', async () => {
  const token = await started();
  expect(token).toMatch(/^[0-9a-f]{8}-[0-9a-f-]{27}$/);
  expect(events).toEqual(['started penguin']);
  expect(await cicerone.startContainer(PENGUIN)).toMatchObject({ state: 'running' });
  expect(calls.filter(([method]) => method === 'StartContainer')).toHaveLength(1);
  // It may call again, as after a restart of its own.
  await container().ContainerReady({ token, garcon_port: GARCON_PORT });
  expect(events).toEqual(['started penguin']);
});

test.each(['', 'stolen', '00000000-0000-4000-8000-000000000000'])('token %j is nobody’s', async (token) => {
  await started();
  for (const call of [
    container().ContainerReady({ token, garcon_port: 10_001 }),
    container().ContainerShutdown({ token }),
    container().OpenUrl({ token, url: 'https://example.com' }),
  ]) {
    await expect(call).rejects.toMatchObject({ code: 9, details: 'no container of this VM has that token' });
  }
  expect(await cicerone.listContainers()).toMatchObject([{ state: 'running' }]);
});

test('one that says it is ready, and does not run, is not believed', async () => {
  await listener().TremplinReady({});
  const refused = expect(cicerone.startContainer(PENGUIN)).rejects.toMatchObject({
    code: 'CROSTINI_ERR_CONTAINER',
    message: expect.stringContaining('was not started: no room'),
  });
  const token = String((await called('StartContainer')).token);
  answers.GetContainerInfo = { status: 'STOPPED' };
  await expect(container().ContainerReady({ token, garcon_port: 1 })).rejects.toMatchObject({ code: 9 });
  await listener().UpdateStartStatus({ container_name: 'penguin', status: 'FAILED', failure_reason: 'no room' });
  await refused;
  expect(await cicerone.listContainers()).toEqual([]);
});

test('what is created is waited for, with its download told', async () => {
  await listener().TremplinReady({});
  const stages: unknown[] = [];
  const creating = cicerone.createContainer(
    PENGUIN,
    { server: 'https://images.example', alias: 'debian/trixie' },
    { onStage: (stage, fraction) => stages.push(fraction ?? stage) },
  );
  expect(await called('CreateContainer')).toMatchObject({ image_alias: 'debian/trixie', rootfs_path: '' });
  const news = { container_name: 'penguin', status: 'DOWNLOADING', download_progress: 40 } as const;
  await listener().UpdateCreateStatus(news);
  await listener().UpdateCreateStatus({ ...news, container_name: 'other', status: 'CREATED' });
  await listener().UpdateCreateStatus({ ...news, status: 'CREATED' });
  expect(await creating).toBe(true);
  expect(stages).toEqual(['creating container penguin', 0.4]);
  answers.CreateContainer = { status: 'EXISTS' };
  expect(await cicerone.createContainer(PENGUIN, { rootfs: '/r', metadata: '/m' })).toBe(false);
});

test('LXD that does not start is told with its reason', async () => {
  await listener().TremplinReady({});
  answers.StartLxd = { status: 'STARTING' };
  const refused = expect(cicerone.startLxd('vm', { owner: 'ab' })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_LXD',
    message: expect.stringContaining('its database is damaged'),
  });
  await called('StartLxd');
  await listener().UpdateStartLxdStatus({ status: 'FAILED', failure_reason: 'its database is damaged' });
  await refused;
});

test('a container that ends by itself is told and forgotten', async () => {
  const token = await started();
  await listener().ContainerShutdown({ container_name: 'penguin' });
  expect(events).toEqual(['started penguin', 'stopped penguin']);
  await expect(container().ContainerReady({ token, garcon_port: 1 })).rejects.toMatchObject({ code: 9 });
  await expect(cicerone.openShell(PENGUIN)).rejects.toMatchObject({ code: 'CROSTINI_ERR_CONTAINER_STATE' });
});

test('the next runtime finds a container that goes on, and one of a VM that boots anew does not', async () => {
  const token = await started();
  for (const [isNew, expected] of [
    [false, [{ name: 'penguin', state: 'running', ipv4: '100.115.92.194' }]],
    [true, []],
  ] as const) {
    await runtime[Symbol.asyncDispose]();
    await startCicerone(isNew);
    expect(await cicerone.listContainers()).toMatchObject(expected);
  }
  await expect(container().ContainerReady({ token, garcon_port: 1 })).rejects.toMatchObject({ code: 9 });
});

test('a shell is opened by a call of garcon, and by nobody else', async () => {
  await started();
  const garcon = new RpcServer(() => {});
  stack.use(garcon);
  const dialled: number[] = [];
  const handlers = {
    LaunchVshd: async ({ port }: { readonly port: number }) => {
      dialled.push(port);
      const path = cicerone.answer('m', port)?.path ?? '';
      connect(path).write('from the container');
      return { success: true };
    },
  } as unknown as RpcHandlers<Wire, 'vm_tools.container.Garcon'>;
  garcon.add(containersWire, 'vm_tools.container.Garcon', handlers);
  const ports = createServer((socket: Socket) => {
    socket.once('data', (line: Buffer) => {
      expect(line.toString()).toBe(`CONNECT ${GARCON_PORT}\n`);
      socket.write('OK 1\n');
      garcon.accept(socket);
    });
  });
  await new Promise<void>((resolve) => ports.listen(join(folder, 'vsock.sock'), resolve));
  stack.defer(() => void ports.close());
  const shell = await cicerone.openShell(PENGUIN);
  const said = await new Promise((resolve) => shell.once('data', (bytes: Buffer) => resolve(bytes.toString())));
  expect(said).toBe('from the container');
  shell.destroy();
  // The port is gone with the call.
  expect(cicerone.answer('m', dialled[0] ?? 0)).toBeUndefined();
});

test('who wants the same container at the same time waits for the other, well or not', async () => {
  const order: string[] = [];
  const work = (name: string, fails: boolean) =>
    cicerone.inTurn(PENGUIN, async () => {
      order.push(`${name} begins`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      order.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    });
  const other = cicerone.inTurn({ ...PENGUIN, container: 'other' }, async () => order.push('other'));
  const results = await Promise.allSettled([work('a', true), work('b', false), work('c', false), other]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled', 'fulfilled']);
  expect(order.filter((one) => one !== 'other')).toEqual([
    ...['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'],
  ]);
  expect(order.indexOf('other')).toBeLessThan(order.indexOf('a ends'));
});
