// A vmm plugin whose machines are nothing but a folder, and guests that are a maitred on a Unix socket.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { MachineExit, VmDescription, VmInfo, Vms } from '@runtime/plugin-vmm/contract';
import { definePlugin, type EventBus } from '@runtime/sdk';
import { Protobuf } from '@runtime/sdk/protobuf';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { crostiniConfig } from '../config.ts';
import { addRpcService, RpcClient, type RpcHandlers } from '../rpc/rpc.ts';
import { guestWire } from '../wire/index.ts';
import { templateTable } from '../wire/template.ts';
import { ConciergeManager, type ConciergeOptions } from './concierge-manager.ts';

/** Until a crash is undone. */
const UNDO_MS = 100;

/** How a guest behaves that does not behave. */
export interface Behaviour {
  /** It does not call. */
  readonly silent?: boolean;
  /** Its machine ends when it should call. */
  readonly dies?: boolean;
  /** Its machine crashes when it is to wake up, and it takes a moment until everything of it is undone. */
  readonly diesAsleep?: boolean;
  /** A call of maitred that fails; `Shutdown`: that is not answered. */
  readonly failsAt?: string;
  /** What becomes of its disk. */
  readonly mount?: string;
  /** It answers Shutdown, and goes on. */
  readonly lingers?: boolean;
  /** Somebody else plays it. */
  readonly absent?: boolean;
}

interface FakeMachine {
  readonly info: VmInfo;
  readonly description: VmDescription;
  readonly directory: string;
  state: VmInfo['state'];
  server: Server | undefined;
  /** Of one that crashes: everything of it is undone. */
  undone: Promise<MachineExit> | undefined;
}

export class FakeVms {
  readonly machines: Map<string, FakeMachine> = new Map();
  /** What was done, in order: calls of maitred, `stop`, `force`, `pause`, `resume`. */
  readonly done: string[] = [];
  readonly requests: Map<string, unknown> = new Map();
  behaviour: Behaviour = {};
  events: EventBus | undefined;
  answer: ((machine: string, port: number) => { readonly path: string } | undefined) | undefined;
  readonly #root: string;
  #nextCid = 32;

  constructor(root: string) {
    this.#root = root;
  }

  readonly vms: Vms = {
    start: async (description, options = {}) => {
      const { name = '' } = description;
      const directory = join(this.#root, name);
      mkdirSync(directory, { recursive: true });
      const cid = this.#nextCid++;
      const info: VmInfo = {
        ...{ name, state: 'running', machine: 'qemu', accelerator: 'kvm', memoryMib: Number(description.mem) },
        ...{ cpus: description.cpus ?? 1, cid, pid: 4242, startedAt: new Date().toISOString() },
      };
      const machine: FakeMachine = {
        info,
        description,
        directory,
        state: 'running',
        server: undefined,
        undone: undefined,
      };
      this.machines.set(name, machine);
      this.events?.emit('vm:created', { vm: name, cid });
      void this.#boot(name, machine, options.restore !== undefined);
      return info;
    },
    stop: async (name, { force } = {}) => {
      this.done.push(force === true ? 'force' : 'stop');
      const { undone } = this.machines.get(name) ?? {};
      if (undone !== undefined) return undone;
      return this.end(name, 'somebody stopped it');
    },
    list: async () => [...this.machines.values()].map(({ info, state }) => ({ ...info, state })),
    inspect: async (name) => {
      const machine = this.machines.get(name);
      if (machine === undefined) throw new Error(`no ${name}`);
      return { ...machine.info, directory: machine.directory } as never;
    },
    pause: async () => void this.done.push('pause'),
    resume: async () => void this.done.push('resume'),
    readConsole: async () => {
      const bytes = Buffer.from('first\nlast \u001b[31mwords\u001b[0m\u0007\n');
      return { bytes, next: bytes.length, missed: 0, ended: false };
    },
  } as Partial<Vms> as Vms;

  /** Its machine ends. */
  async end(name: string, detail: string): Promise<MachineExit> {
    const machine = this.machines.get(name);
    if (machine === undefined) throw new Error(`no ${name}`);
    machine.server?.forceShutdown();
    machine.state = 'stopped';
    this.events?.emit('vm:stopped', { vm: name, reason: 'stopped', detail });
    return { reason: 'stopped', detail };
  }

  /** As the vmm plugin tells of it: its state at once, its end when everything of it is undone. */
  async crash(name: string, machine: FakeMachine): Promise<MachineExit> {
    machine.server?.forceShutdown();
    machine.state = 'crashed';
    await delay(UNDO_MS);
    const exit = { reason: 'crashed', detail: 'QEMU ended with SIGKILL' } as const;
    this.events?.emit('vm:crashed', { vm: name, ...exit });
    return exit;
  }

  async callReady(name: string): Promise<void> {
    const path = this.answer?.(name, 7777)?.path;
    if (path === undefined) throw new Error('nobody answers port 7777');
    using client = new RpcClient(guestWire, 'vm_tools.StartupListener', `unix:${path}`);
    await client.call.VmReady({}, { deadlineMs: 2_000 });
  }

  async #boot(name: string, machine: FakeMachine, isRestored: boolean): Promise<void> {
    if (this.behaviour.absent === true) return;
    if (this.behaviour.dies === true) return void (await this.end(name, 'the guest panicked'));
    await this.serve(name, machine);
    if (this.behaviour.silent !== true && !isRestored) await this.callReady(name);
  }

  async serve(name: string, machine: FakeMachine): Promise<void> {
    const server = new Server();
    const methods = Object.keys(guestWire.table.services['vm_tools.Maitred']);
    const handlers = Object.fromEntries(
      methods.map((method) => [method, async (request: object) => this.#handle(name, method, request)]),
    ) as unknown as RpcHandlers<typeof guestWire.table, 'vm_tools.Maitred'>;
    addRpcService(server, guestWire, 'vm_tools.Maitred', handlers);
    addRpcService(server, new Protobuf(templateTable), 'runtime.Template', {
      Wake: async (request) => {
        await this.#handle(name, 'Wake', request);
        setImmediate(() => void this.callReady(name));
        return {};
      },
    });
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${machine.directory}/vsock.sock.g8888`, ServerCredentials.createInsecure(), (e) =>
        e === null ? resolve() : reject(e),
      );
    });
    machine.server = server;
  }

  async #handle(name: string, method: string, request: object): Promise<object> {
    this.done.push(method);
    this.requests.set(method, request);
    const { failsAt, lingers, diesAsleep } = this.behaviour;
    if (method === 'Wake' && diesAsleep === true) {
      const machine = this.machines.get(name);
      if (machine !== undefined) machine.undone = this.crash(name, machine);
      return new Promise(() => {});
    }
    if (method === failsAt) {
      if (method === 'Shutdown') return new Promise(() => {});
      throw new Error(`${method} is not for you`);
    }
    if (method === 'Shutdown' && lingers !== true) setImmediate(() => void this.end(name, 'switched off'));
    return method === 'StartTermina' ? { mount_result: this.behaviour.mount ?? 'SUCCESS' } : {};
  }
}

export interface Rig extends AsyncDisposable {
  readonly fake: FakeVms;
  readonly manager: ConciergeManager;
  readonly runtime: TestRuntime;
  readonly root: string;
  /** Ends the runtime and begins a new one; machines go on. */
  restart(more?: Partial<ConciergeOptions>): Promise<Rig>;
}

export async function startRig(
  before?: { readonly root: string; readonly fake: FakeVms },
  more: Partial<ConciergeOptions> = {},
): Promise<Rig> {
  const root = before?.root ?? mkdtempSync(join(tmpdir(), 'tc-'));
  const fake = before?.fake ?? new FakeVms(root);
  mkdirSync(join(root, 's'), { recursive: true });
  const made = Promise.withResolvers<ConciergeManager>();
  const plugin = definePlugin({
    name: 'test-concierge',
    version: '1.0.0',
    async setup(ctx) {
      const options: ConciergeOptions = {
        context: ctx,
        vms: fake.vms,
        config: crostiniConfig.parse({ startSeconds: 1, stop: { askSeconds: 1, endSeconds: 1 } }),
        socketFolder: join(root, 's'),
        ensureImage: async (profile, onProgress) => {
          onProgress({ what: 'making it', done: 1, total: 2 });
          return { id: `image-${profile}`, kernel: '/k', initrd: '/i', rootfs: '/r', params: 'quiet' };
        },
        statefulDisk: async ({ name }) => ({ path: `/disks/${name}.img`, format: 'raw' }),
        ...more,
      };
      const manager = new ConciergeManager(options);
      fake.events = ctx.events;
      fake.answer = (machine, port) => manager.answer(machine, port);
      await manager.adoptAll(undefined);
      made.resolve(manager);
      return { dispose: () => manager.release() };
    },
  });
  const runtime = await createTestRuntime({ plugins: [plugin], stateDirectory: join(root, 'state') });
  const manager = await made.promise;
  const end = async (): Promise<void> => {
    await runtime[Symbol.asyncDispose]();
    fake.events = undefined;
  };
  return {
    ...{ fake, manager, runtime, root },
    async restart(others = {}) {
      await end();
      return startRig({ root, fake }, others);
    },
    async [Symbol.asyncDispose]() {
      await end();
      for (const { server } of fake.machines.values()) server?.forceShutdown();
      rmSync(root, { recursive: true, force: true });
    },
  };
}
