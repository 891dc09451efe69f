// One device and its process, through all incarnations of that process.

import { closeSync, rmSync } from 'node:fs';
import type { Logger, ManagedProcess, ProcessSupervisor } from '@runtime/sdk';
import { connectUnix } from '@runtime/sdk/linux';
import {
  type CompiledHosts,
  ControlLink,
  type DeviceProcess,
  type TraceBatch,
  type VirtioDeviceName,
} from '@runtime/sdk/virtio';
import type { DeviceKind, HostHalf, HostRequest } from './device-kind.ts';
import type { DeviceSpec, RunningDevice, SocketPaths, VmPlace } from './device-manager.ts';
import type { DevicePlan } from './device-plan.ts';
import { type DeviceReport, parseLoaded, parseReport, parseTrace } from './device-reports.ts';
import { errors } from './errors.ts';

/**
 * Types whose machine end is no descriptor that it could inherit: the machine binds the socket itself when it starts
 * (QEMU's netdevs), and the device connects once it is there.
 */
export const BOUND_BY_MACHINE: ReadonlySet<VirtioDeviceName> = new Set(['net']);
const CONNECT_RETRY_MS = 10;
/** A connection that lasts as long is a good one; the longest pause between bad ones. */
const STEADY_MS = 1_000;
const MAX_PAUSE_MS = 1_000;
const NO_PLAN: DevicePlan = { paths: [], fds: {}, syscalls: [], ioctls: [] };

/** A device process that dies more often than this within the window stays down. */
const RESTART = { when: 'always', backoffMs: 10, maxMs: 50, crashLimit: 30, windowMs: 10_000 } as const;
const LOAD_MS = 30_000;
/** First and longest pause before a process that could not load its device is given it again: its code may be half written. */
const RELOAD_PAUSE_MS = { first: 100, longest: 2_000 } as const;

interface Base {
  readonly processes: ProcessSupervisor;
  readonly log: Logger;
  readonly compiled?: CompiledHosts;
  readonly onRestart: (vm: string, id: string) => void;
  readonly onFailure: (vm: string, id: string, why: string) => void;
  readonly resolve: (kind: string) => Promise<DeviceKind | undefined>;
  readonly vm: VmPlace;
  readonly spec: DeviceSpec;
  readonly kind: DeviceKind;
  readonly paths: SocketPaths;
}

export interface SessionParts extends Base {
  readonly half: HostHalf;
  /** The listening sockets; the session's to close. */
  readonly control: number;
  /** −1: the machine has it. */
  readonly vhost: number;
}

export class DeviceSession implements RunningDevice {
  readonly id: string;
  readonly kind: string;
  readonly type: VirtioDeviceName;
  queueSizes: readonly number[] = [];
  configSize = 0;
  failure: string | undefined;
  readonly #parts: SessionParts;
  /** As it was offered last. */
  #kind: DeviceKind;
  #vhost: number;
  #process: ManagedProcess | undefined;
  #link: ControlLink | undefined;
  #stopping = false;
  #connectedAt = Number.NEGATIVE_INFINITY;
  #pauseMs = 0;
  /** Settles when the present incarnation serves the machine. */
  #attached: Promise<void> = Promise.resolve();

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#kind = parts.kind;
    this.#vhost = parts.vhost;
    this.id = parts.spec.id;
    this.kind = parts.spec.kind;
    this.type = parts.kind.type;
  }

  /** Takes over a device process that outlived the runtime which started it, with the descriptors that it holds. */
  static async adopt(base: Base, request: HostRequest, program: DeviceProcess): Promise<DeviceSession> {
    const { spec, kind, paths } = base;
    const link = new ControlLink(connectUnix(paths.control, { type: 'seqpacket' }), {
      name: spec.id,
      handle: () => Promise.reject(errors.VMM_ERR_DEVICE({ details: { device: spec.id, why: 'is being taken over' } })),
    });
    const { value, fds } = await link.request('descriptors', null).finally(() => link[Symbol.dispose]());
    const names = parseReport({ names: value }).names;
    const [control = -1, ...others] = fds;
    const named = Object.fromEntries(names.map((name, at) => [name, others[at] as number]));
    const half = await (kind.adopt ?? kind.open)?.(request, named);
    const session = new DeviceSession({
      ...base,
      half: half ?? { options: spec.options, fds: named, close: async () => {} },
      control,
      vhost: -1,
    });
    await session.start(program);
    return session;
  }

  get plugin(): string | undefined {
    return this.#kind.plugin;
  }

  get socketFd(): number {
    return this.#vhost;
  }

  get socketPath(): string {
    return this.#parts.paths.vhost;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  get restarts(): number {
    return this.#process?.restarts ?? 0;
  }

  /** Starts the process, or finds it again. */
  async start({ argv, env }: DeviceProcess): Promise<void> {
    const { processes, vm, spec, kind, control } = this.#parts;
    this.#process = await processes.spawn({
      key: `${vm.name}/${spec.id}`,
      kind: 'device',
      argv,
      env,
      fds: [{ child: 3, parent: control }],
      detached: true,
      restart: RESTART,
      jail: { profile: 'device', plan: kind.plan ?? NO_PLAN, code: [kind.module.root] },
      ask: () => this.#ask(),
      data: { vm: vm.name, device: spec.id, kind: spec.kind },
    });
    void this.#process.exited.then(({ code, signal }) => this.#ended(signal ?? `exit code ${code}`));
    this.#attached = this.#attach();
    try {
      await this.#attached;
    } catch (e) {
      this.#stopping = true;
      await this.#process.stop();
      throw e;
    }
  }

  machineStarted(): void {
    if (this.#vhost >= 0) closeSync(this.#vhost);
    this.#vhost = -1;
  }

  async describe(): Promise<Readonly<Record<string, unknown>>> {
    const { device, connected } = await this.#report();
    return { id: this.id, kind: this.kind, pid: this.pid, restarts: this.restarts, connected, ...device };
  }

  async stats(): Promise<Readonly<Record<string, number>>> {
    return (await this.#report()).stats;
  }

  async trace(): Promise<TraceBatch> {
    return parseTrace((await this.#call('trace', null)).value);
  }

  async request(method: string, params: unknown): Promise<unknown> {
    const ready = await (this.#parts.half.prepare?.(method, params) ?? params);
    return (await this.#call('request', { method, params: ready })).value;
  }

  async reload(): Promise<{ readonly ms: number }> {
    // A new version of its package may lie elsewhere.
    const kind = (await this.#parts.resolve(this.kind)) ?? this.#kind;
    await this.#present().catch(() => {
      // The code that kept it from coming back may be mended now.
      this.#kind = kind;
      if (this.#link !== undefined) this.#comeBack(this.#serve(this.#link));
    });
    const { value } = await this.#call('reload', kind.module);
    this.#kind = kind;
    return { ms: parseReport({ stats: value }).stats.ms ?? 0 };
  }

  async restart(): Promise<void> {
    await this.#attached;
    this.#process?.kill('SIGKILL');
    const before = this.#link;
    // The link notices first; then the next incarnation is given what it needs.
    while (this.#link === before && !this.#stopping && this.failure === undefined) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await this.#attached;
  }

  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.#process?.stop();
    this.#link?.[Symbol.dispose]();
    this.machineStarted();
    closeSync(this.#parts.control);
    for (const path of Object.values(this.#parts.paths)) rmSync(path, { force: true });
    await this.#parts.half.close();
  }

  release(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#link?.[Symbol.dispose]();
    this.machineStarted();
    closeSync(this.#parts.control);
    // What else its half has goes with the instance of the plugin; files stay for the next one.
    for (const fd of Object.values(this.#parts.half.fds)) closeSync(fd);
  }

  async #ask(): Promise<void> {
    await this.#link?.request('stop', null).catch(() => {});
  }

  async #call(method: string, params: unknown): Promise<{ readonly value: unknown }> {
    return (await this.#present()).request(method, params);
  }

  /** To the present incarnation, when it has its device. */
  async #present(): Promise<ControlLink> {
    for (;;) {
      const attached = this.#attached;
      const failed = await attached.then(
        () => undefined,
        (e: unknown) => ({ cause: e, why: `did not come back: ${e instanceof Error ? e.message : String(e)}` }),
      );
      if (attached !== this.#attached) continue;
      if (failed === undefined && this.#link !== undefined) return this.#link;
      const why = this.failure ?? failed?.why ?? 'is being started anew';
      throw errors.VMM_ERR_DEVICE({ details: { device: this.id, why }, cause: failed?.cause });
    }
  }

  async #report(): Promise<DeviceReport> {
    return parseReport((await this.#call('describe', null)).value);
  }

  /** Connects to the present incarnation and gives it what it has not got yet. */
  async #attach(): Promise<void> {
    const { paths } = this.#parts;
    const link = new ControlLink(connectUnix(paths.control, { type: 'seqpacket' }), {
      name: this.id,
      handle: (method, params, fds) => this.#handle(method, params, fds),
      closed: () => this.#lost(link),
    });
    this.#link = link;
    await this.#serve(link);
  }

  async #serve(link: ControlLink): Promise<void> {
    const { half, spec } = this.#parts;
    const report = parseReport((await link.request('describe', null, [], LOAD_MS)).value);
    if (report.device === undefined) {
      const names = Object.keys(half.fds);
      // What was compiled into its program counts as long as that is what the files say.
      const current = this.#parts.compiled?.find(this.#kind.module)?.stamp;
      const compiled = current === undefined ? {} : { compiled: current };
      const { value } = await link.request(
        'load',
        { id: spec.id, ...this.#kind.module, ...compiled, options: half.options, names, threads: half.threads ?? 1 },
        Object.values(half.fds),
        LOAD_MS,
      );
      const loaded = parseLoaded(value);
      if (loaded.type !== this.type) {
        const why = `is of type ${loaded.type}, not ${this.type}`;
        throw errors.VMM_ERR_DEVICE({ details: { device: this.id, why } });
      }
      this.queueSizes = loaded.queueSizes;
      this.configSize = loaded.configSize;
    } else {
      this.queueSizes = report.queueSizes;
      this.configSize = report.configSize;
    }
    if (report.connected) return;
    if (BOUND_BY_MACHINE.has(this.type)) void this.#connectLater(link);
    else await this.#connectMachine(link);
  }

  /** The machine waits in its start until this has connected. */
  async #connectLater(link: ControlLink): Promise<void> {
    while (link.open && !this.#stopping) {
      if (await this.#connectMachine(link).catch(() => false)) return;
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    }
  }

  /** At once, unless the connections before broke as soon as they were made: then later and later. */
  async #reconnect(link: ControlLink): Promise<void> {
    const now = performance.now();
    this.#pauseMs = now - this.#connectedAt < STEADY_MS ? Math.min(MAX_PAUSE_MS, this.#pauseMs * 2 + 1) : 0;
    if (this.#pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, this.#pauseMs));
    await this.#connectLater(link);
  }

  /** The machine listens; a connection waits in its backlog until it is accepted. False when it does not listen. */
  async #connectMachine(link: ControlLink): Promise<boolean> {
    let fd: number;
    try {
      fd = connectUnix(this.#parts.paths.vhost, { type: 'stream' });
    } catch (err) {
      // Not there yet, or gone: then the machine has ended, and the device is about to be stopped.
      this.#parts.log.debug({ err, device: this.id }, 'the machine takes no connection');
      return false;
    }
    try {
      this.#connectedAt = performance.now();
      await link.request('connect', null, [fd]);
      return true;
    } finally {
      closeSync(fd);
    }
  }

  async #handle(
    method: string,
    params: unknown,
    fds: readonly number[],
  ): Promise<{ readonly value: unknown; readonly fds?: readonly number[]; readonly closeFds?: boolean }> {
    if (method === 'disconnected') {
      const link = this.#link;
      if (link !== undefined && !this.#stopping) void this.#reconnect(link);
      return { value: null };
    }
    const { half } = this.#parts;
    const { method: name, params: value } = (params ?? {}) as { method?: unknown; params?: unknown };
    if (method !== 'device' || typeof name !== 'string' || half.handle === undefined) {
      for (const fd of fds) closeSync(fd);
      throw errors.VMM_ERR_DEVICE({ details: { device: this.id, why: `asked for what nobody answers (${method})` } });
    }
    return { ...(await half.handle(name, value, fds)), closeFds: true };
  }

  #lost(link: ControlLink): void {
    if (this.#link !== link || this.#stopping) return;
    this.#link = undefined;
    this.#comeBack(this.#attach());
  }

  #comeBack(attempt: Promise<void>, pauseMs: number = RELOAD_PAUSE_MS.first): void {
    const { vm, log, onRestart } = this.#parts;
    const link = this.#link;
    this.#attached = attempt.then(() => onRestart(vm.name, this.id));
    const attached = this.#attached;
    attached.catch((err: unknown) => {
      if (this.#stopping || link === undefined || !link.open) return;
      log.warn({ err, device: this.id, vm: vm.name }, `device ${this.id} did not come back; it is tried again`);
      setTimeout(() => {
        if (this.#attached !== attached || this.#stopping) return;
        this.#comeBack(this.#serve(link), Math.min(pauseMs * 2, RELOAD_PAUSE_MS.longest));
      }, pauseMs).unref();
    });
  }

  #ended(why: string): void {
    if (this.#stopping) return;
    this.failure = `its process ended too often (${why})`;
    this.#parts.onFailure(this.#parts.vm.name, this.id, this.failure);
  }
}
