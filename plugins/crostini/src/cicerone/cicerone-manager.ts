// The containers of all VMs: how they are made, started, found and ended.

import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { PluginContext, Requires, ServiceTokens } from '@runtime/sdk';
import { keyText, type VmKey, vmKey } from '../concierge/names.ts';
import { GUEST_PORTS, HOST_PORTS } from '../concierge/ports.ts';
import type { Concierge } from '../contract.ts';
import type { Container, ContainerImage, ContainerName, Containers, ContainerWishes } from '../contract-containers.ts';
import { errors } from '../errors.ts';
import { RpcClient } from '../rpc/rpc.ts';
import { callUnary } from '../rpc/unary.ts';
import { containersWire } from '../wire/index.ts';
import { dialGuest } from './dial.ts';
import { type ContainerNews, listenForContainers, listenForTremplin } from './listeners.ts';
import { type ContainerRecord, ContainerRecords } from './records.ts';
import { type KnownContainer, type TremplinClient, VmSeat } from './seat.ts';

type Context = Pick<PluginContext<Requires, ServiceTokens, unknown, unknown>, 'events' | 'state' | 'log'>;

export interface CiceroneOptions {
  readonly context: Context;
  readonly concierge: Pick<Concierge, 'endpoint'>;
}

export interface WatchedContainers {
  readonly key: VmKey;
  readonly machine: string;
  /** Of the socket behind a port of the host. */
  readonly socketPath: (port: number) => string;
  /** It is about to boot: none of its containers runs. */
  readonly isNew: boolean;
}

export type ContainerUser = Awaited<ReturnType<TremplinClient['call']['GetContainerUsername']>>;

/** As of ChromeOS. */
const DEADLINE_MS = 60_000;
const LONG_DEADLINE_MS = 120_000;
/** With an emulated CPU, each of these takes most of a minute. */
const READY_MS = 180_000;
const LXD_MS = 180_000;
/** Without a word of progress. */
const WORK_MS = 900_000;
const SHELL_MS = 30_000;
/** Of the host, for shells; above those that ChromeOS' file servers have. */
const SHELL_PORTS = { first: 0x10000, last: 0x1ffff } as const;
const MESSAGE_MAX = 1024 * 1024;

export class CiceroneManager implements Containers {
  readonly #options: CiceroneOptions;
  readonly #records: ContainerRecords;
  readonly #seats: Map<string, VmSeat> = new Map();
  readonly #turns: Map<string, Promise<unknown>> = new Map();
  #shellPort: number = SHELL_PORTS.first;

  constructor(options: CiceroneOptions) {
    this.#options = options;
    this.#records = new ContainerRecords(options.context.state);
  }

  // Virtual machines

  /** Listens before the machine starts; disposing of it lets go of the VM, whose containers may go on. */
  async watch({ key, machine, socketPath, isNew }: WatchedContainers): Promise<Disposable> {
    const seat = new VmSeat(key, machine, socketPath);
    using stack = new DisposableStack();
    stack.use(
      await listenForTremplin(socketPath(HOST_PORTS.tremplin), {
        ready: () => {
          seat.tremplinReady.resolve();
          this.#options.context.events.emit('container:tremplin', { vm: key.name, owner: key.owner });
        },
        lxd: ({ status, failure_reason: reason }) => {
          const known = { STARTING: 'starting', RECOVERING: 'starting', STARTED: 'running', FAILED: 'failed' } as const;
          seat.lxd = { status: known[status as keyof typeof known] ?? 'failed', reason };
        },
        progress: (news) => seat.tell(news),
        shutdown: (name) => this.#ended(seat, name),
      }),
    );
    stack.use(
      await listenForContainers(socketPath(HOST_PORTS.containers), {
        ready: ({ token, garconPort }) => this.#garconReady(seat, token, garconPort),
        shutdown: (token) => this.#ended(seat, expectContainer(seat, token).name),
        expectToken: (token) => void expectContainer(seat, token),
      }),
    );
    if (isNew) await this.#records.removeAll(key);
    else for (const record of await this.#records.of(key)) adopt(seat, record);
    this.#seats.set(keyText(key), seat);
    const owned = stack.move();
    return {
      [Symbol.dispose]: () => {
        owned.dispose();
        this.#seats.delete(keyText(key));
        seat.client?.[Symbol.dispose]();
        seat.gone.reject(errors.CROSTINI_ERR_VM_STATE({ details: { vm: key.name, state: 'stopped', verb: 'asked' } }));
        for (const path of seat.ports.values()) rmSync(path, { force: true });
      },
    };
  }

  /** Of the hook `vm/vsock-connect`: a shell that calls. */
  answer(machine: string, port: number): { readonly path: string } | undefined {
    const seat = this.#seats.values().find((one) => one.machine === machine);
    const path = seat?.ports.get(port);
    return path === undefined ? undefined : { path };
  }

  // LXD

  async startLxd(vm: string, options: { readonly owner?: string } & ContainerWishes = {}): Promise<void> {
    const { owner, signal, onStage } = options;
    const seat = this.#seat(vm, owner);
    const { call } = await this.#tremplin(seat, signal, onStage);
    onStage?.('starting LXD');
    const running = Promise.withResolvers<void>();
    running.promise.catch(() => {});
    using _ = seat.followLxd(({ status: now, reason }) => {
      if (now === 'running') running.resolve();
      if (now === 'failed') running.reject(errors.CROSTINI_ERR_LXD({ details: { vm, why: reason } }));
    });
    const { status, failure_reason: why } = await call.StartLxd({}, { deadlineMs: DEADLINE_MS, ...signalOf(signal) });
    if (status === 'FAILED') throw errors.CROSTINI_ERR_LXD({ details: { vm, why } });
    if (status === 'ALREADY_RUNNING' || seat.lxd.status === 'running') return;
    await this.#within(seat, running.promise, LXD_MS, 'LXD', signal);
  }

  // Containers

  async createContainer(name: ContainerName, image: ContainerImage, wishes: ContainerWishes = {}): Promise<boolean> {
    const { container } = name;
    const seat = this.#seat(name.vm, name.owner);
    const { call } = await this.#tremplin(seat, wishes.signal);
    const source =
      'server' in image
        ? { image_server: image.server, image_alias: image.alias }
        : { rootfs_path: image.rootfs, metadata_path: image.metadata };
    wishes.onStage?.(`creating container ${container}`);
    return await this.#work(seat, container, 'create', 'created', wishes, async () => {
      const request = { container_name: container, ...source };
      const { status, failure_reason: why } = await call.CreateContainer(request, {
        deadlineMs: LONG_DEADLINE_MS,
        ...signalOf(wishes.signal),
      });
      if (status === 'EXISTS') return false;
      if (status !== 'CREATING') throw this.#failure(seat, container, 'created', why);
      return undefined;
    });
  }

  /** Running or not. */
  async containerExists({ vm, owner, container }: ContainerName): Promise<boolean> {
    const seat = this.#seat(vm, owner);
    const { call } = await this.#tremplin(seat);
    const { status, failure_reason: why } = await call.GetContainerInfo(
      { container_name: container },
      { deadlineMs: DEADLINE_MS },
    );
    if (status === 'FAILED') throw this.#failure(seat, container, 'found', why);
    return status !== 'NOT_FOUND';
  }

  async setUpContainerUser({ vm, owner, container }: ContainerName, user: string): Promise<string> {
    const seat = this.#seat(vm, owner);
    const { call } = await this.#tremplin(seat);
    const request = { container_name: container, container_username: user };
    const { status, failure_reason, username } = await call.SetUpUser(request, { deadlineMs: LONG_DEADLINE_MS });
    if (status !== 'SUCCESS' && status !== 'EXISTS')
      throw this.#failure(seat, container, `given user ${user}`, failure_reason);
    return username;
  }

  async startContainer(name: ContainerName, wishes: ContainerWishes = {}): Promise<Container> {
    const { container } = name;
    const seat = this.#seat(name.vm, name.owner);
    const { call } = await this.#tremplin(seat, wishes.signal);
    const known = seat.containers.get(container);
    if (known?.state === 'running') return seat.info(known);
    wishes.onStage?.(`starting container ${container}`);
    const one = known ?? newContainer(container);
    seat.containers.set(container, one);
    try {
      await this.#records.write(seat.key, one);
      await this.#work(seat, container, 'start', 'started', wishes, async () => {
        const request = { container_name: container, token: one.token };
        const { status, failure_reason: why } = await call.StartContainer(request, {
          deadlineMs: LONG_DEADLINE_MS,
          ...signalOf(wishes.signal),
        });
        if (status === 'FAILED' || status === 'UNKNOWN') throw this.#failure(seat, container, 'started', why);
        return status === 'STARTED' || status === 'RUNNING' ? true : undefined;
      });
      wishes.onStage?.(`waiting for container ${container}`);
      await this.#within(seat, one.ready.promise, READY_MS, `container "${container}"`, wishes.signal);
      return seat.info(one);
    } catch (e) {
      if (one.state === 'starting') await this.#forget(seat, container);
      throw e;
    }
  }

  async stopContainer({ vm, owner, container }: ContainerName): Promise<void> {
    const seat = this.#seat(vm, owner);
    const { call } = await this.#tremplin(seat);
    const known = seat.containers.get(container);
    if (known !== undefined) known.state = 'stopping';
    await this.#work(seat, container, 'stop', 'stopped', {}, async () => {
      const request = { container_name: container };
      const { status, failure_reason: why } = await call.StopContainer(request, { deadlineMs: DEADLINE_MS });
      if (status === 'DOES_NOT_EXIST') throw notFound(seat, container);
      if (status === 'STOPPED') return true;
      if (status !== 'STOPPING') throw this.#failure(seat, container, 'stopped', why);
      return undefined;
    });
    this.#ended(seat, container);
  }

  async deleteContainer({ vm, owner, container }: ContainerName): Promise<boolean> {
    const seat = this.#seat(vm, owner);
    const { call } = await this.#tremplin(seat);
    const isDone = await this.#work(seat, container, 'delete', 'deleted', {}, async () => {
      const request = { container_name: container };
      const { status, failure_reason: why } = await call.DeleteContainer(request, { deadlineMs: DEADLINE_MS });
      if (status === 'DOES_NOT_EXIST') return false;
      if (status !== 'DELETING') throw this.#failure(seat, container, 'deleted', why);
      return undefined;
    });
    this.#ended(seat, container);
    return isDone;
  }

  async listContainers({ owner }: { readonly owner?: string } = {}): Promise<readonly Container[]> {
    const all = [...this.#seats.values()].flatMap((seat) => [...seat.containers.values()].map((one) => seat.info(one)));
    return owner === undefined ? all : all.filter((one) => one.owner === owner.toLowerCase());
  }

  /** Hexadecimal; undefined: it does not run. */
  containerToken({ vm, owner, container }: ContainerName): string | undefined {
    return this.#seats.get(keyText(vmKey(vm, owner)))?.containers.get(container)?.token;
  }

  /** Who has number 1000 in a container that runs, as tremplin tells it. @throws CROSTINI_ERR_VM_NOT_FOUND, what rpc does */
  async containerUser({ vm, owner, container }: ContainerName): Promise<ContainerUser> {
    const { call } = await this.#tremplin(this.#seat(vm, owner));
    return await call.GetContainerUsername({ container_name: container }, { deadlineMs: DEADLINE_MS });
  }

  /** A connection to vshd in a container that runs. @throws CROSTINI_ERR_CONTAINER… */
  async openShell({ vm, owner, container }: ContainerName, signal?: AbortSignal): Promise<Socket> {
    const seat = this.#seat(vm, owner);
    const known = seat.containers.get(container);
    if (known?.state !== 'running') {
      throw errors.CROSTINI_ERR_CONTAINER_STATE({ details: { vm, container, verb: 'entered' } });
    }
    const { directory } = await this.#options.concierge.endpoint(vm, seat.key);
    const port = this.#freeShellPort(seat);
    const path = seat.socketPath(port);
    const caller = Promise.withResolvers<Socket>();
    const server = createServer({ allowHalfOpen: true }, caller.resolve);
    server.on('error', caller.reject);
    seat.ports.set(port, path);
    try {
      await new Promise<void>((resolve) => server.listen(path, resolve));
      const answer = await callUnary({
        ...{ wire: containersWire, service: 'vm_tools.container.Garcon', method: 'LaunchVshd', request: { port } },
        ...{ deadlineMs: DEADLINE_MS, dial: (ended) => dialGuest(directory, known.garconPort, ended) },
      });
      if (!answer.success) throw this.#failure(seat, container, 'entered', answer.failure_reason.slice(0, 500));
      return await this.#within(seat, caller.promise, SHELL_MS, `the shell of container "${container}"`, signal);
    } finally {
      seat.ports.delete(port);
      server.close();
      rmSync(path, { force: true });
    }
  }

  /** One after the other for each container: who comes second finds what the first has done. */
  async inTurn<T>({ vm, owner, container }: ContainerName, work: () => Promise<T>): Promise<T> {
    const key = `${keyText(vmKey(vm, owner))}/${container}`;
    const before = this.#turns.get(key);
    const mine = (before ?? Promise.resolve()).then(work, work);
    this.#turns.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#turns.get(key) === mine) this.#turns.delete(key);
    }
  }

  // Small things

  async #garconReady(seat: VmSeat, token: string, garconPort: number): Promise<void> {
    const one = expectContainer(seat, token);
    const { call } = await this.#tremplin(seat);
    const name = { container_name: one.name };
    const info = await call.GetContainerInfo(name, { deadlineMs: DEADLINE_MS });
    if (info.status !== 'RUNNING') {
      throw errors.CROSTINI_ERR_CONTAINER_STATE({
        details: { vm: seat.key.name, container: one.name, verb: 'made ready' },
      });
    }
    const user = await call.GetContainerUsername(name, { deadlineMs: DEADLINE_MS });
    one.garconPort = garconPort;
    one.ipv4 = info.ipv4_address === 0 ? undefined : dotted(info.ipv4_address);
    one.username = user.status === 'SUCCESS' ? user.username : undefined;
    one.homedir = user.status === 'SUCCESS' ? user.homedir : undefined;
    const isNew = one.state !== 'running';
    one.state = 'running';
    await this.#records.write(seat.key, one);
    one.ready.resolve();
    if (isNew) this.#tell('container:started', seat, one.name);
  }

  #ended(seat: VmSeat, container: string): void {
    const known = seat.containers.get(container);
    if (known === undefined) return;
    if (known.state === 'running' || known.state === 'stopping') this.#tell('container:stopped', seat, container);
    this.#forget(seat, container).catch((err: unknown) => {
      this.#options.context.log.warn({ err, container }, `container ${container} is still on record`);
    });
  }

  async #forget(seat: VmSeat, container: string): Promise<void> {
    seat.containers.delete(container);
    await this.#records.remove(seat.key, container);
  }

  #tell(topic: 'container:started' | 'container:stopped', { key }: VmSeat, container: string): void {
    this.#options.context.events.emit(topic, { vm: key.name, owner: key.owner, container });
  }

  /**
   * Begins something, and waits for what tremplin tells of its end.
   * @param begin undefined: it goes on, and its end will be told
   * @returns what `begin` said, or true when it has ended well
   */
  async #work(
    seat: VmSeat,
    container: string,
    work: ContainerNews['work'],
    verb: string,
    { signal, onStage }: ContainerWishes,
    begin: () => Promise<boolean | undefined>,
  ): Promise<boolean> {
    const ended = Promise.withResolvers<boolean>();
    ended.promise.catch(() => {});
    using _ = seat.follow((news) => {
      if (news.work !== work || news.container !== container) return;
      if (DONE.has(news.status)) ended.resolve(true);
      else if (FAILED.has(news.status)) ended.reject(this.#failure(seat, container, verb, news.reason || news.status));
      else if (news.status === 'DOWNLOADING')
        onStage?.(`downloading container ${container}`, (news.percent ?? 0) / 100);
    });
    const said = await begin();
    return said ?? (await this.#within(seat, ended.promise, WORK_MS, `container "${container}"`, signal));
  }

  /** @throws CROSTINI_ERR_CONTAINER_SILENT; what ended the VM; the reason of the signal */
  async #within<T>(seat: VmSeat, promise: Promise<T>, ms: number, who: string, signal?: AbortSignal): Promise<T> {
    const ended = new AbortController();
    const stop = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
    const late = delay(ms, undefined, { signal: stop }).then(
      () => {
        throw errors.CROSTINI_ERR_CONTAINER_SILENT({ details: { vm: seat.key.name, who, seconds: ms / 1_000 } });
      },
      (e: unknown) => {
        throw signal?.aborted === true ? signal.reason : e;
      },
    );
    late.catch(() => {});
    try {
      return await Promise.race([promise, late, seat.gone.promise]);
    } finally {
      ended.abort();
    }
  }

  async #tremplin(seat: VmSeat, signal?: AbortSignal, onStage?: ContainerWishes['onStage']): Promise<TremplinClient> {
    if (seat.client !== undefined) return seat.client;
    onStage?.('waiting for tremplin');
    const { directory } = await this.#options.concierge.endpoint(seat.key.name, seat.key);
    const client: TremplinClient = new RpcClient(
      containersWire,
      'vm_tools.tremplin.Tremplin',
      `unix:${directory}/vsock.sock.g${GUEST_PORTS.tremplin}`,
      { 'grpc.max_receive_message_length': MESSAGE_MAX },
    );
    try {
      // One that was there before this runtime does not call again.
      if (seat.containers.size === 0)
        await this.#within(seat, seat.tremplinReady.promise, READY_MS, 'tremplin', signal);
    } catch (e) {
      client[Symbol.dispose]();
      throw e;
    }
    seat.client ??= client;
    if (seat.client !== client) client[Symbol.dispose]();
    return seat.client;
  }

  #seat(vm: string, owner: string | undefined): VmSeat {
    const seat = this.#seats.get(keyText(vmKey(vm, owner)));
    if (seat === undefined) throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm } });
    return seat;
  }

  #failure({ key: { name: vm } }: VmSeat, container: string, verb: string, reason: string): Error {
    const why = reason === '' ? 'tremplin does not say why' : reason;
    const hint = `More may be in the log of the VM: runtime logs ${vm}`;
    return errors.CROSTINI_ERR_CONTAINER({ details: { vm, container, verb, why, hint } });
  }

  #freeShellPort({ ports }: VmSeat): number {
    do this.#shellPort = this.#shellPort >= SHELL_PORTS.last ? SHELL_PORTS.first : this.#shellPort + 1;
    while (ports.has(this.#shellPort));
    return this.#shellPort;
  }
}

const DONE: ReadonlySet<string> = new Set(['CREATED', 'DELETED', 'STARTED', 'STOPPED', 'DONE']);
const FAILED: ReadonlySet<string> = new Set(['FAILED', 'CANCELLED', 'DOWNLOAD_TIMED_OUT']);

/** @throws CROSTINI_ERR_CONTAINER_TOKEN */
function expectContainer(seat: VmSeat, token: string): KnownContainer {
  const one = token === '' ? undefined : seat.byToken(token);
  if (one === undefined) throw errors.CROSTINI_ERR_CONTAINER_TOKEN();
  return one;
}

function notFound({ key: { name: vm } }: VmSeat, container: string): Error {
  return errors.CROSTINI_ERR_CONTAINER_NOT_FOUND({ details: { vm, container } });
}

function newContainer(name: string): KnownContainer {
  return {
    ...{ name, token: randomUUID(), state: 'starting', garconPort: 0, ready: Promise.withResolvers() },
    ...{ username: undefined, homedir: undefined, ipv4: undefined },
  };
}

function adopt(seat: VmSeat, record: ContainerRecord): void {
  const { name, token, garconPort } = record;
  const one: KnownContainer = { ...newContainer(name), token, garconPort };
  if (garconPort > 0) {
    Object.assign(one, { state: 'running', username: record.username, homedir: record.homedir, ipv4: record.ipv4 });
    one.ready.resolve();
    seat.lxd = { status: 'running', reason: '' };
  }
  seat.containers.set(name, one);
}

function signalOf(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** As in_addr lies in memory, read as little-endian. */
function dotted(address: number): string {
  return [0, 8, 16, 24].map((shift) => (address >>> shift) & 0xff).join('.');
}
