// One machine of QEMU: its process, its QMP connection and its console.

import { join } from 'node:path';
import { type ManagedProcess, sleep, systemClock } from '@runtime/sdk';
import type {
  BalloonRequest,
  BalloonState,
  ConsoleChunk,
  MachineDevice,
  MachineExit,
  MachineSpec,
  NativeDevice,
} from '../../contract.ts';
import { errors } from '../../errors.ts';
import { ConsoleRelay } from '../console/console-relay.ts';
import { bindsItself, chardevOf, NEEDS_REPLUG, nativeDevice, userNetdev, vhostDevice } from './device-arguments.ts';
import { ExitWitness } from './exit-reasons.ts';
import { askBalloon } from './qemu-balloon.ts';
import { loadState, saveState } from './qemu-state.ts';
import { machineStats } from './qemu-stats.ts';
import { QmpClient, type QmpEvent } from './qmp.ts';

/** Milliseconds for each rung of the ladder on which a machine is stopped. */
export interface StopTimes {
  /** For a guest that was asked to switch itself off. */
  readonly powerdownMs: number;
  /** For QEMU that was asked to quit, then SIGTERM, then SIGKILL. */
  readonly quitMs: number;
  readonly termMs: number;
  readonly killMs: number;
}

export const STOP_TIMES: StopTimes = { powerdownMs: 15_000, quitMs: 2_000, termMs: 3_000, killMs: 2_000 };

/** Between two presses of the power button, ms. */
const PRESS_MS = 2_000;

/** For QEMU to end once its machine has, ms: the process of a device that hangs would have it wait for ever. */
const LINGER_MS = 5_000;

/** For a guest to let go of a device. */
const UNPLUG_MS = 10_000;

export const qmpSocket = (spec: MachineSpec): string => join(spec.directory, 'qmp.sock');
export const consoleSocket = (spec: MachineSpec): string => join(spec.directory, 'console.sock');
export const consoleLog = (spec: MachineSpec): string => join(spec.logDirectory, `${spec.name}.log`);

export class QemuVm {
  readonly spec: MachineSpec;
  readonly #stop: StopTimes;
  readonly #witness: ExitWitness = new ExitWitness();
  readonly #devices: Map<string, MachineDevice>;
  readonly #natives: NativeDevice[];
  readonly #listeners: Set<(event: QmpEvent) => void> = new Set();
  readonly #exit: PromiseWithResolvers<MachineExit> = Promise.withResolvers<MachineExit>();
  #process: ManagedProcess | undefined;
  #qmp: QmpClient | undefined;
  #console: ConsoleRelay | undefined;
  #asked = false;

  constructor(spec: MachineSpec, stop: StopTimes) {
    this.spec = spec;
    this.#stop = stop;
    this.#devices = new Map(spec.devices.map((device) => [device.id, device]));
    this.#natives = [...spec.natives];
  }

  /** Asked of QEMU before it gets a signal. */
  async ask(): Promise<void> {
    this.#asked = true;
    await this.#qmp?.execute('quit', {}, { timeoutMs: this.#stop.quitMs }).catch(() => {});
  }

  /** Connects to a QEMU that has just been started, or has been found again. */
  async connect(processes: ManagedProcess, start: { readonly greetMs: number }): Promise<void> {
    this.#process = processes;
    const failed = processes.exited.then((status) => {
      throw status;
    });
    // Whoever ends first: QEMU that does not like its command line ends without a word over QMP.
    await Promise.race([this.#connect(start.greetMs), failed]);
    failed.catch(() => {});
    void processes.exited.then(async (status) => {
      // What it said last may still lie in the socket.
      await new Promise((resolve) => setTimeout(resolve, 20));
      this.#exit.resolve(this.#witness.conclude(status, this.#asked));
      this.#qmp?.[Symbol.dispose]();
    });
  }

  get alive(): boolean {
    return this.#process !== undefined && this.#process.state !== 'exited';
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  get exited(): Promise<MachineExit> {
    return this.#exit.promise;
  }

  /** Ends what is left of one that did not start. */
  async discard(): Promise<void> {
    await this.#process?.stop().catch(() => {});
    this.release();
  }

  /** Lets go of the connections; QEMU goes on. */
  release(): void {
    this.#qmp?.[Symbol.dispose]();
    this.#console?.[Symbol.dispose]();
  }

  async boot(): Promise<void> {
    await this.#client.execute('cont');
  }

  async pause(): Promise<void> {
    await this.#client.execute('stop');
  }

  async running(): Promise<boolean> {
    const status = await this.#client.execute('query-status');
    return (status as { readonly running?: unknown } | null)?.running === true;
  }

  /** ACPI power button, `quit`, SIGTERM, SIGKILL; each when the one before did not help in time. */
  async stop(force: boolean): Promise<MachineExit> {
    const child = this.#process;
    if (child === undefined) return { reason: 'stopped', detail: 'it was not running' };
    if (!force) await this.#powerdown();
    this.#asked = true;
    await child.stop();
    return this.exited;
  }

  async attach(device: MachineDevice): Promise<void> {
    this.#devices.set(device.id, device);
    try {
      await this.#addChardev(device);
      await this.#plug(device);
    } catch (e) {
      this.#devices.delete(device.id);
      await this.#client.execute('chardev-remove', { id: chardevOf(device.id) }).catch(() => {});
      throw this.#hotplug(device.id, 'plugged in', e);
    }
  }

  /** A device of the machine itself. */
  async attachNative(native: NativeDevice): Promise<void> {
    const { id, kind, guest } = native;
    try {
      if (kind === 'user-net') await this.#client.execute('netdev_add', { type: 'user', ...userNetdev(id, guest) });
      await this.#client.execute('device_add', nativeDevice(native).device);
      this.#natives.push(native);
    } catch (e) {
      throw this.#hotplug(id, 'plugged in', e);
    }
  }

  /** @see loadState */
  async load(path: string): Promise<void> {
    await loadState(this.#client, path);
  }

  /** @see saveState */
  async save(path: string): Promise<void> {
    const { pid } = this;
    if (pid === undefined) throw new Error('it has ended');
    await saveState(this.#client, pid, path);
  }

  async detach(id: string): Promise<void> {
    try {
      await this.#unplug(id);
      await this.#removeBackends(id);
    } catch (e) {
      throw this.#hotplug(id, 'unplugged', e);
    }
    this.#devices.delete(id);
  }

  /** For devices that QEMU does not set up again by itself. */
  async reconnected(id: string): Promise<void> {
    const device = this.#devices.get(id);
    if (device === undefined || !NEEDS_REPLUG.has(device.type)) return;
    try {
      await this.#unplug(id);
      await this.#plug(device);
    } catch (e) {
      throw this.#hotplug(id, 'plugged in again', e);
    }
  }

  async stats(): Promise<Readonly<Record<string, number>>> {
    return machineStats(this.#process?.pid);
  }

  async balloon(request: BalloonRequest): Promise<BalloonState> {
    const { name: vm } = this.spec;
    const id = this.#natives.find(({ kind }) => kind === 'balloon')?.id;
    return askBalloon(this.#client, { vm, id }, request);
  }

  async readConsole(request?: { readonly from?: number; readonly waitMs?: number }): Promise<ConsoleChunk> {
    return (await this.#console?.read(request)) ?? { bytes: new Uint8Array(), next: 0, missed: 0, ended: true };
  }

  wakeReaders(): void {
    this.#console?.wakeReaders();
  }

  writeConsole(bytes: Uint8Array): void {
    if (this.#console === undefined) {
      throw errors.VMM_ERR_CONSOLE({ details: { vm: this.spec.name, why: 'it is not connected' } });
    }
    this.#console.write(bytes);
  }

  get #client(): QmpClient {
    if (this.#qmp === undefined) {
      throw errors.VMM_ERR_QMP({ details: { vm: this.spec.name, command: 'anything', why: 'it is not connected' } });
    }
    return this.#qmp;
  }

  async #connect(greetMs: number): Promise<void> {
    // The console first: QEMU takes both before it hears `cont`, so that no byte of the guest is lost.
    this.#console = await ConsoleRelay.connect(consoleSocket(this.spec), {
      vm: this.spec.name,
      logFile: consoleLog(this.spec),
    });
    this.#qmp = await QmpClient.connect(qmpSocket(this.spec), {
      vm: this.spec.name,
      greetMs,
      onEvent: (event) => this.#hear(event),
      onClose: () => {},
    });
  }

  #hear(event: QmpEvent): void {
    this.#witness.hear(event);
    if (event.event === 'SHUTDOWN') void this.#endSoon();
    for (const listener of [...this.#listeners]) listener(event);
  }

  async #endSoon(): Promise<void> {
    const late = new AbortController();
    const lingers = await Promise.race([
      this.exited.then(() => false),
      sleep(systemClock, LINGER_MS, late.signal).then(
        () => true,
        () => false,
      ),
    ]);
    late.abort();
    if (lingers) await this.#process?.stop().catch(() => {});
  }

  /** A guest that is still starting does not hear the first time. */
  async #powerdown(): Promise<void> {
    if (!(await this.running().catch(() => false))) return;
    const ended = this.exited.then(() => true);
    const until = performance.now() + this.#stop.powerdownMs;
    for (let left = this.#stop.powerdownMs; left > 0; left = until - performance.now()) {
      const pressed = await this.#client.execute('system_powerdown').then(
        () => true,
        () => false,
      );
      if (!pressed) return;
      const late = new AbortController();
      const pause = sleep(systemClock, Math.min(left, PRESS_MS), late.signal).then(
        () => false,
        () => false,
      );
      const isOver = await Promise.race([ended, pause]);
      late.abort();
      if (isOver) return;
    }
  }

  async #addChardev(device: MachineDevice): Promise<void> {
    const id = chardevOf(device.id);
    const qmp = this.#client;
    let addr: unknown = { type: 'unix', data: { path: device.socketPath } };
    if (!bindsItself(device.type)) {
      await qmp.execute('getfd', { fdname: id }, { fds: [device.socketFd] });
      addr = { type: 'fd', data: { str: id } };
    }
    await qmp.execute('chardev-add', {
      id,
      backend: { type: 'socket', data: { addr, server: true, wait: true } },
    });
  }

  async #plug(device: MachineDevice): Promise<void> {
    const { before, device: properties } = vhostDevice(device, this.spec.accelerator);
    if (before.length > 0) {
      await this.#client.execute('netdev_add', {
        type: 'vhost-user',
        id: `${device.id}-net`,
        chardev: chardevOf(device.id),
        queues: Math.max(1, Math.floor(device.queueSizes.length / 2)),
      });
    }
    await this.#client.execute('device_add', properties);
  }

  async #unplug(id: string): Promise<void> {
    const gone = Promise.withResolvers<void>();
    const listener = ({ event, data }: QmpEvent): void => {
      if (event === 'DEVICE_DELETED' && data.device === id) gone.resolve();
      if (event === 'DEVICE_UNPLUG_GUEST_ERROR' && data.device === id) gone.reject(new Error('the guest refused'));
    };
    const late = setTimeout(
      () => gone.reject(new Error(`the guest did not let go of it in ${UNPLUG_MS} ms`)),
      UNPLUG_MS,
    );
    this.#listeners.add(listener);
    try {
      await this.#client.execute('device_del', { id });
      await gone.promise;
    } finally {
      gone.promise.catch(() => {});
      clearTimeout(late);
      this.#listeners.delete(listener);
    }
  }

  async #removeBackends(id: string): Promise<void> {
    const device = this.#devices.get(id);
    if (device?.type === 'net') await this.#client.execute('netdev_del', { id: `${id}-net` });
    await this.#client.execute('chardev-remove', { id: chardevOf(id) });
  }

  #hotplug(device: string, verb: string, cause: unknown): Error {
    const why = (cause as Error).message;
    return errors.VMM_ERR_HOTPLUG({ details: { device, vm: this.spec.name, verb, why }, cause });
  }
}
