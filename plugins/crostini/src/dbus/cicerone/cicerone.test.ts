// org.chromium.VmCicerone as its callers see it, in front of a manager that does nothing.

import { type Bus, connectBus, DBUS_ERRORS, isRemoteError } from '@runtime/sdk/dbus';
import { hasDbusDaemon, type PrivateBus, startPrivateBus } from '@runtime/sdk/testing';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Container, ContainerImage, ContainerName } from '../../contract-containers.ts';
import { errors } from '../../errors.ts';
import { ciceroneWire } from '../../wire/index.ts';
import { type DbusService, startDbus } from '../index.ts';
import type { CiceroneDesk } from './handlers.ts';
import {
  METHODS,
  type MessageName,
  type MethodName,
  type MethodRow,
  OBJECT_PATH,
  SERVICE,
  SIGNALS,
  type SignalName,
} from './methods.ts';
import { UNSUPPORTED } from './unsupported.ts';

const OWNER = 'a1b2c3';
const NAME = { vm_name: 'termina', container_name: 'penguin', owner_id: OWNER };

class FakeDesk implements CiceroneDesk {
  readonly images: ContainerImage[] = [];
  readonly states = new Map<string, Container['state']>();
  user = 'ada';

  async startLxd(vm: string): Promise<void> {
    if (vm !== 'termina') throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm } });
  }
  async containerExists({ vm, container }: ContainerName): Promise<boolean> {
    if (vm !== 'termina') throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm } });
    return this.states.has(container);
  }
  async createContainer(
    { container }: ContainerName,
    image: ContainerImage,
    wishes?: { onStage?: (stage: string, fraction?: number) => void },
  ): Promise<boolean> {
    this.images.push(image);
    wishes?.onStage?.('creating');
    wishes?.onStage?.('downloading', 0.25);
    this.states.set(container, 'stopped');
    return true;
  }
  async setUpContainerUser(_name: ContainerName, user: string): Promise<string> {
    this.user = user;
    return user;
  }
  async startContainer(name: ContainerName): Promise<Container> {
    this.states.set(name.container, 'running');
    return this.#info(name.container);
  }
  async stopContainer({ container }: ContainerName): Promise<void> {
    this.states.set(container, 'stopped');
  }
  async deleteContainer({ container }: ContainerName): Promise<boolean> {
    if (container === 'stuck') throw new Error('it is in use');
    return this.states.delete(container);
  }
  async listContainers(): Promise<readonly Container[]> {
    return [...this.states.keys()].map((name) => this.#info(name));
  }
  containerToken({ container }: ContainerName): string | undefined {
    return this.states.get(container) === 'running' ? `token of ${container}` : undefined;
  }
  async containerUser(): Promise<Awaited<ReturnType<CiceroneDesk['containerUser']>>> {
    return { status: 'SUCCESS', username: this.user, homedir: `/home/${this.user}`, failure_reason: '' };
  }
  #info(name: string): Container {
    const state = this.states.get(name) ?? 'stopped';
    return {
      ...{ name, vm: 'termina', owner: OWNER, state, username: this.user },
      homedir: '/home/ada',
      ipv4: '1.2.3.4',
    };
  }
}

describe.runIf(hasDbusDaemon())('cicerone on a bus', () => {
  let daemon: PrivateBus;
  let service: DbusService;
  let client: Bus;
  let desk: FakeDesk;
  let listeners: Map<string, (data: never) => unknown>;
  const told: [SignalName, object][] = [];

  beforeEach(async () => {
    daemon = await startPrivateBus();
    desk = new FakeDesk();
    listeners = new Map();
    told.length = 0;
    const on = (topic: string, listener: unknown): Disposable => {
      listeners.set(topic, listener as never);
      return { [Symbol.dispose]: () => void listeners.delete(topic) };
    };
    service = await startDbus({
      ...{ mode: daemon.address, log: { info: vi.fn(), warn: vi.fn() }, containers: desk },
      events: { on },
    } as unknown as Parameters<typeof startDbus>[0]);
    client = await connectBus({ bus: daemon.address });
    for (const member of Object.keys(SIGNALS) as SignalName[]) {
      await client.subscribe(
        { sender: SERVICE, path: OBJECT_PATH, interface: SERVICE, member },
        ({ values: [bytes] }) =>
          told.push([member, ciceroneWire.decode(`vm_tools.cicerone.${SIGNALS[member]}`, bytes as Uint8Array)]),
      );
    }
  });
  afterEach(async () => {
    await service[Symbol.asyncDispose]();
    await client.close();
    await daemon[Symbol.asyncDispose]();
  });

  const send = async (member: string, bytes: Uint8Array): Promise<readonly unknown[]> =>
    (
      await client.call({
        service: SERVICE,
        path: OBJECT_PATH,
        interface: SERVICE,
        member,
        signature: 'ay',
        args: [bytes],
      })
    ).values;

  async function ask<M extends MethodName>(member: M, request: object): Promise<object> {
    const row: MethodRow = METHODS[member];
    const full = <N extends MessageName>(name: N) => `vm_tools.cicerone.${name}` as const;
    const [bytes] = await send(member, ciceroneWire.encode(full(row.request), request as never));
    return ciceroneWire.decode(full(row.response ?? row.request), bytes as Uint8Array);
  }

  const happened = (signal: SignalName): Promise<object> =>
    vi.waitFor(() => {
      const [, values] = told.find(([name]) => name === signal) ?? [];
      if (values === undefined) throw new Error(`${signal} was not told`);
      return values;
    });

  test('a container is made, started, stopped and deleted, and signals tell of each end', async () => {
    expect(await ask('StartLxd', NAME)).toMatchObject({ status: 'STARTING' });
    expect(await happened('StartLxdProgress')).toMatchObject({ vm_name: 'termina', status: 'STARTED' });
    const image = { image_server: 'https://images', image_alias: 'debian/trixie' };
    expect(await ask('CreateLxdContainer', { ...NAME, ...image })).toMatchObject({ status: 'CREATING' });
    expect(await happened('LxdContainerCreated')).toMatchObject({ ...NAME, status: 'CREATED' });
    expect(await happened('LxdContainerDownloading')).toMatchObject({ ...NAME, download_progress: 25 });
    expect(desk.images).toEqual([{ server: 'https://images', alias: 'debian/trixie' }]);
    expect(await ask('CreateLxdContainer', NAME)).toMatchObject({ status: 'EXISTS' });
    expect(await ask('SetUpLxdContainerUser', { ...NAME, container_username: 'eve' })).toMatchObject({
      ...{ status: 'SUCCESS', container_username: 'eve' },
    });
    expect(await ask('StartLxdContainer', NAME)).toMatchObject({ status: 'STARTING' });
    expect(await happened('LxdContainerStarting')).toMatchObject({ ...NAME, status: 'STARTED' });
    expect(await ask('StartLxdContainer', NAME)).toMatchObject({ status: 'RUNNING' });
    expect(await ask('GetLxdContainerUsername', NAME)).toMatchObject({ username: 'eve', homedir: '/home/eve' });
    expect(await ask('GetContainerToken', NAME)).toEqual({ container_token: 'token of penguin' });
    expect(await ask('ListRunningContainers', { owner_id: OWNER })).toMatchObject({
      containers: [{ vm_name: 'termina', container_name: 'penguin', container_token: 'token of penguin' }],
    });
    expect(await ask('GetDebugInformation', {})).toEqual({
      debug_information: 'termina penguin running eve 1.2.3.4\n',
    });
    expect(await ask('StopLxdContainer', NAME)).toMatchObject({ status: 'STOPPING' });
    expect(await happened('LxdContainerStopping')).toMatchObject({ ...NAME, status: 'STOPPED' });
    expect(await ask('DeleteLxdContainer', NAME)).toMatchObject({ status: 'DELETING' });
    expect(await happened('LxdContainerDeleted')).toMatchObject({ ...NAME, status: 'DELETED' });
    expect(await ask('DeleteLxdContainer', NAME)).toMatchObject({ status: 'DOES_NOT_EXIST' });
  });

  test('what fails says why, at once or when it has', async () => {
    const nowhere = { ...NAME, vm_name: 'none' };
    for (const method of [
      'CreateLxdContainer',
      'StartLxdContainer',
      'StopLxdContainer',
      'DeleteLxdContainer',
    ] as const) {
      expect(await ask(method, nowhere)).toMatchObject({
        ...{ status: 'FAILED', failure_reason: expect.stringContaining('no VM called "none"') },
      });
    }
    expect(await ask('StartLxdContainer', NAME)).toMatchObject({ status: 'FAILED' });
    expect(await ask('StartLxd', nowhere)).toMatchObject({ status: 'STARTING' });
    expect(await happened('StartLxdProgress')).toMatchObject({ status: 'FAILED' });
    desk.states.set('stuck', 'stopped');
    expect(await ask('DeleteLxdContainer', { ...NAME, container_name: 'stuck' })).toMatchObject({ status: 'DELETING' });
    expect(await happened('LxdContainerDeleted')).toMatchObject({ status: 'FAILED', failure_reason: 'it is in use' });
  });

  test('events are signals', async () => {
    desk.states.set('penguin', 'running');
    const about = { vm: 'termina', owner: OWNER, container: 'penguin' };
    listeners.get('container:tremplin')?.(about as never);
    listeners.get('container:started')?.(about as never);
    expect(await happened('TremplinStarted')).toEqual({ vm_name: 'termina', owner_id: OWNER });
    expect(await happened('ContainerStarted')).toMatchObject({
      ...{ ...NAME, container_username: 'ada', container_homedir: '/home/ada', ipv4_address: '1.2.3.4' },
      container_token: 'token of penguin',
    });
    listeners.get('container:stopped')?.(about as never);
    expect(await happened('ContainerShutdown')).toEqual(NAME);
  });

  test('every method of ChromeOS works, or says why it does not', async () => {
    for (const [name, why] of Object.entries(UNSUPPORTED)) {
      const refused = send(name, new Uint8Array());
      await expect(refused).rejects.toThrow(why);
      await expect(refused).rejects.toSatisfy((e) => isRemoteError(e, DBUS_ERRORS.notSupported));
    }
    const { values } = await client.call({
      ...{
        service: SERVICE,
        path: OBJECT_PATH,
        interface: 'org.freedesktop.DBus.Introspectable',
        member: 'Introspect',
      },
    });
    for (const name of [...Object.keys(METHODS), ...Object.keys(SIGNALS)])
      expect(values[0]).toContain(`name="${name}"`);
  });

  test('bytes that are no request are refused, and the next one is served', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.keys(METHODS).filter((name) => !(name in UNSUPPORTED))),
        fc.uint8Array({ maxLength: 200 }),
        async (method, bytes) => {
          await send(method, bytes).catch(() => {});
        },
      ),
      { numRuns: 300 },
    );
    await expect(send('StartLxd', Uint8Array.of(0x0a, 0xff))).rejects.toSatisfy((e) =>
      isRemoteError(e, DBUS_ERRORS.invalidArgs),
    );
    expect(await ask('ListRunningContainers', {})).toMatchObject({ containers: [] });
  });
});
