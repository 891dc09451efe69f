// Device processes, seen from the runtime: started, given their code and descriptors, connected to the machine, and given
// all of it again when they died. A device whose process is replaced keeps its place in the guest.

import { closeSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger, ProcessSupervisor } from '@runtime/sdk';
import { listenUnix } from '@runtime/sdk/linux';
import { type CompiledHosts, deviceProcess, type TraceBatch, type VirtioDeviceName } from '@runtime/sdk/virtio';
import type { DeviceKind, HostHalf, HostRequest } from './device-kind.ts';
import { BOUND_BY_MACHINE, DeviceSession } from './device-session.ts';
import { errors } from './errors.ts';

export interface DeviceSpec {
  /** Unique in its VM: `block0`. */
  readonly id: string;
  /** `block`, `net`, `rng`, `vsock`, …, or a third party's. */
  readonly kind: string;
  readonly options: unknown;
}

export interface VmPlace {
  readonly name: string;
  /** For sockets; exists, and only the user may enter it. */
  readonly directory: string;
  /** What relative paths in the options are relative to. */
  readonly cwd: string;
}

export interface RunningDevice {
  readonly id: string;
  readonly kind: string;
  readonly type: VirtioDeviceName;
  /** The one that offers its kind, if that is known. */
  readonly plugin: string | undefined;
  /** Largest size of each queue. */
  readonly queueSizes: readonly number[];
  readonly configSize: number;
  /**
   * Listening stream socket on which the machine accepts vhost-user connections: that of each incarnation of the process
   * waits in its backlog. Inherit it; open until `machineStarted()`. −1 for types of BOUND_BY_MACHINE: the machine binds
   * `socketPath` itself.
   */
  readonly socketFd: number;
  readonly socketPath: string;
  readonly pid: number | undefined;
  readonly restarts: number;
  /** What failed for good, if anything. */
  readonly failure: string | undefined;
  /** The machine has its own copy of `socketFd`. */
  machineStarted(): void;
  describe(): Promise<Readonly<Record<string, unknown>>>;
  stats(): Promise<Readonly<Record<string, number>>>;
  /** Its requests since the last call; the first one begins to collect them, for about two seconds. */
  trace(): Promise<TraceBatch>;
  /** To the definition's `handle`. */
  request(method: string, params: unknown): Promise<unknown>;
  /** Puts the code as it is in the files now into the running process. */
  reload(): Promise<{ readonly ms: number }>;
  /** Kills the process and has it come back with its requests in flight. */
  restart(): Promise<void>;
  stop(): Promise<void>;
  /** Lets go of the process, which goes on: the code of the plugin is replaced, or the runtime ends. */
  release(): void;
}

export interface DeviceManagerOptions {
  readonly processes: ProcessSupervisor;
  readonly log: Logger;
  /** `undefined`: nobody knows such a kind. */
  resolve(kind: string): Promise<DeviceKind | undefined>;
  /** Left out: devices are loaded from their modules. */
  readonly compiled?: CompiledHosts;
  /** Asks the plugins who answers a guest's call to a vsock port. */
  readonly findListener?: (vm: string, port: number) => Promise<{ readonly path: string } | undefined>;
  readonly onRestart: (vm: string, id: string) => void;
  readonly onFailure: (vm: string, id: string, why: string) => void;
}

export class DeviceManager {
  readonly #options: DeviceManagerOptions;

  constructor(options: DeviceManagerOptions) {
    this.#options = options;
  }

  /** @throws VMM_ERR_DEVICE_KIND, VMM_ERR_DEVICE, and what opening its files throws */
  async start(vm: VmPlace, spec: DeviceSpec, signal: AbortSignal): Promise<RunningDevice> {
    const kind = await this.#kind(spec);
    const request = this.#request(vm, spec, signal);
    const program = kind.compilable === true ? await this.#options.compiled?.ensure(kind.module) : undefined;
    const half = kind.open === undefined ? plainHalf(spec.options) : await kind.open(request);
    const paths = socketPaths(vm, spec.id);
    const sockets: number[] = [];
    try {
      for (const path of [paths.control, paths.vhost]) rmSync(path, { force: true });
      sockets.push(listenUnix(paths.control, { type: 'seqpacket', backlog: 4, mode: 0o600 }));
      if (!BOUND_BY_MACHINE.has(kind.type)) {
        sockets.push(listenUnix(paths.vhost, { type: 'stream', backlog: 4, mode: 0o600 }));
      }
      const [control = -1, vhost = -1] = sockets;
      const session = new DeviceSession({ ...this.#options, vm, spec, kind, half, paths, control, vhost });
      await session.start(deviceProcess(spec.id, program?.file));
      return session;
    } catch (e) {
      for (const fd of sockets) closeSync(fd);
      for (const path of [paths.control, paths.vhost]) rmSync(path, { force: true });
      await half.close();
      throw e;
    }
  }

  /** A device whose process an earlier runtime started. @throws VMM_ERR_DEVICE when it does not answer */
  async adopt(vm: VmPlace, spec: DeviceSpec, signal: AbortSignal): Promise<RunningDevice> {
    const kind = await this.#kind(spec);
    const program = kind.compilable === true ? this.#options.compiled?.find(kind.module) : undefined;
    return DeviceSession.adopt(
      { ...this.#options, vm, spec, kind, paths: socketPaths(vm, spec.id) },
      this.#request(vm, spec, signal),
      deviceProcess(spec.id, program?.file),
    );
  }

  async #kind({ id, kind: name }: DeviceSpec): Promise<DeviceKind> {
    const kind = await this.#options.resolve(name);
    if (kind === undefined) throw errors.VMM_ERR_DEVICE_KIND({ details: { kind: name, device: id } });
    return kind;
  }

  #request(vm: VmPlace, { id, options }: DeviceSpec, signal: AbortSignal): HostRequest {
    const { processes, log, findListener } = this.#options;
    return {
      vm,
      id,
      options,
      cwd: vm.cwd,
      log,
      signal,
      ...(findListener === undefined ? {} : { findListener: (port: number) => findListener(vm.name, port) }),
      spawn: ({ name, ...request }) => processes.spawn({ ...request, key: `${vm.name}/${id}/${name}`, detached: true }),
    };
  }
}

function plainHalf(options: unknown): HostHalf {
  return { options, fds: {}, close: async () => {} };
}

export interface SocketPaths {
  readonly control: string;
  readonly vhost: string;
}

function socketPaths({ directory }: VmPlace, id: string): SocketPaths {
  return { control: join(directory, `${id}.control`), vhost: join(directory, `${id}.vhost`) };
}
