// The machine `qemu`: QEMU as a supervised, detached process for each VM.

import { closeSync, constants, openSync, rmSync, statSync } from 'node:fs';
import type { Logger, ManagedProcess, ProcessSupervisor, SpawnRequest } from '@runtime/sdk';
import { listenUnix } from '@runtime/sdk/linux';
import type {
  BalloonRequest,
  BalloonState,
  ConsoleChunk,
  Machine,
  MachineDevice,
  MachineExit,
  MachineSpec,
  MachineState,
  NativeDevice,
} from '../../contract.ts';
import { errors } from '../../errors.ts';
import { openSavedMemory, type SavedMemory } from '../saved-memory.ts';
import { qemuCommand } from './command-line.ts';
import { findFirmware, findProgram } from './programs.ts';
import { consoleSocket, QemuVm, qmpSocket, type StopTimes } from './qemu-vm.ts';

export interface QemuMachineOptions {
  readonly processes: ProcessSupervisor;
  readonly log: Logger;
  /** A path, or a name on PATH. */
  readonly program: string;
  readonly stop: StopTimes;
}

/** QEMU says nothing before all its devices are there, each of which it asks a few questions. */
const GREET_MS = 20_000;
const MIB = 2 ** 20;

export class QemuMachine implements Machine {
  readonly #options: QemuMachineOptions;
  readonly #vms: Map<string, QemuVm> = new Map();

  constructor(options: QemuMachineOptions) {
    this.#options = options;
  }

  async create(spec: MachineSpec, from?: MachineState): Promise<void> {
    const { name } = spec;
    const program = findProgram(this.#options.program);
    if (program === undefined) {
      throw errors.VMM_ERR_QEMU_MISSING({ details: { program: this.#options.program, vm: name } });
    }
    if (from !== undefined && from.program !== identityOf(program)) {
      throw snapshotRefused(from.path, name, 'loaded', 'another QEMU wrote it');
    }
    const firmware = findFirmware();
    const serials = openSerials(spec);
    const sockets = bindSockets(spec);
    let child: ManagedProcess | undefined;
    let memory: SavedMemory | undefined;
    const vm = new QemuVm(spec, this.#options.stop);
    try {
      memory = from && openSavedMemory(from.path, spec.memoryMib * MIB);
      const { argv, fds } = qemuCommand(spec, {
        program,
        sockets,
        serials,
        ...(firmware === undefined ? {} : { firmware }),
        ...(from === undefined || memory === undefined ? {} : { incoming: { memory: memory.fd } }),
      });
      child = await this.#options.processes.spawn({ ...this.#request(vm), argv, fds });
      await Promise.all([vm.connect(child, { greetMs: GREET_MS }), memory?.fill()]);
      if (from !== undefined) await vm.load(from.path);
    } catch (cause) {
      await vm.discard();
      await child?.stop().catch(() => {});
      const failure = this.#failure(name, child, cause);
      if (from === undefined) throw failure;
      throw snapshotRefused(from.path, name, 'loaded', failure instanceof Error ? failure.message : String(failure));
    } finally {
      closeSync(sockets.qmp);
      closeSync(sockets.console);
      if (memory !== undefined) closeSync(memory.fd);
      for (const fd of serials) closeSync(fd);
    }
    this.#keep(vm);
  }

  async save(name: string, path: string): Promise<string> {
    const program = findProgram(this.#options.program);
    try {
      await this.#vm(name).save(path);
    } catch (cause) {
      rmSync(path, { recursive: true, force: true });
      throw snapshotRefused(path, name, 'written', (cause as Error).message);
    }
    return program === undefined ? '' : identityOf(program);
  }

  async adopt(spec: MachineSpec): Promise<boolean> {
    const { name } = spec;
    const { processes, log } = this.#options;
    const found = processes.list().find(({ key, state }) => key === keyOf(name) && state === 'ready');
    if (found === undefined) return false;
    const vm = new QemuVm(spec, this.#options.stop);
    try {
      // It is there already, so nothing is started; the command line would only count for a start.
      const child = await processes.spawn({ ...this.#request(vm), argv: [this.#options.program] });
      await vm.connect(child, { greetMs: GREET_MS });
    } catch (err) {
      log.warn({ err, vm: name }, `VM ${name} does not answer, and is ended`);
      await vm.discard();
      await found.stop().catch(() => {});
      return false;
    }
    this.#keep(vm);
    return true;
  }

  async boot(vm: string): Promise<void> {
    await this.#vm(vm).boot();
  }

  async pause(vm: string): Promise<void> {
    await this.#vm(vm).pause();
  }

  async resume(vm: string): Promise<void> {
    await this.#vm(vm).boot();
  }

  async stop(vm: string, options: { readonly force?: boolean } = {}): Promise<MachineExit> {
    return this.#vm(vm).stop(options.force === true);
  }

  async exited(vm: string): Promise<MachineExit> {
    return this.#vm(vm).exited;
  }

  async running(vm: string): Promise<boolean> {
    return this.#vm(vm).running();
  }

  async attach(vm: string, device: MachineDevice | NativeDevice): Promise<void> {
    if ('kind' in device) await this.#vm(vm).attachNative(device);
    else await this.#vm(vm).attach(device);
  }

  async detach(vm: string, id: string): Promise<void> {
    await this.#vm(vm).detach(id);
  }

  async reconnected(vm: string, id: string): Promise<void> {
    await this.#vm(vm).reconnected(id);
  }

  async stats(vm: string): Promise<Readonly<Record<string, number>>> {
    return this.#vm(vm).stats();
  }

  async balloon(vm: string, request: BalloonRequest): Promise<BalloonState> {
    return this.#vm(vm).balloon(request);
  }

  async readConsole(vm: string, request?: { readonly from?: number; readonly waitMs?: number }): Promise<ConsoleChunk> {
    return this.#vm(vm).readConsole(request);
  }

  async writeConsole(vm: string, bytes: Uint8Array): Promise<void> {
    this.#vm(vm).writeConsole(bytes);
  }

  /** Whether its process is there. */
  async alive(vm: string): Promise<boolean> {
    return this.#vms.get(vm)?.alive === true;
  }

  pid(vm: string): number | undefined {
    return this.#vms.get(vm)?.pid;
  }

  /** Has all that wait for output of a console return. */
  wakeReaders(): void {
    for (const vm of this.#vms.values()) vm.wakeReaders();
  }

  /** Forgets one that has ended; its console can no longer be read. */
  forget(vm: string): void {
    this.#vms.get(vm)?.release();
    this.#vms.delete(vm);
  }

  /** Lets go of all; those that are detached go on. */
  release(): void {
    for (const name of [...this.#vms.keys()]) this.forget(name);
  }

  #keep(vm: QemuVm): void {
    this.#vms.set(vm.spec.name, vm);
    void vm.exited.then(() => {
      for (const path of [qmpSocket(vm.spec), consoleSocket(vm.spec)]) rmSync(path, { force: true });
    });
  }

  #request(vm: QemuVm): Omit<SpawnRequest, 'argv'> {
    const { stop } = this.#options;
    const { name } = vm.spec;
    return {
      key: keyOf(name),
      kind: 'vm',
      detached: true,
      ask: () => vm.ask(),
      stopMs: { ask: stop.quitMs, term: stop.termMs, kill: stop.killMs },
      data: { vm: name },
    };
  }

  #vm(name: string): QemuVm {
    const vm = this.#vms.get(name);
    if (vm === undefined) throw errors.VMM_ERR_NOT_FOUND({ details: { vm: name } });
    return vm;
  }

  #failure(vm: string, child: ManagedProcess | undefined, cause: unknown): unknown {
    const said = child?.log.slice(-3).join('; ') ?? '';
    if (child === undefined) return cause;
    const why = said === '' ? (cause instanceof Error ? cause.message : 'QEMU ended at once') : said;
    return errors.VMM_ERR_MACHINE({
      details: { vm, why, hint: 'See what QEMU objects to; runtime vm logs shows the rest.' },
      ...(cause instanceof Error ? { cause } : {}),
    });
  }
}

/** Of the file, with its firmware: an update of QEMU is another one. */
function identityOf(program: string): string {
  return [program, findFirmware() ?? '']
    .map((file) => {
      const found = statSync(file, { throwIfNoEntry: false });
      return `${file} ${found?.size} ${found?.mtimeMs}`;
    })
    .join(', ');
}

function snapshotRefused(path: string, vm: string, verb: string, why: string): Error {
  return errors.VMM_ERR_SNAPSHOT({ details: { path, vm, verb, why } });
}

function keyOf(vm: string): string {
  return `vm/${vm}/qemu`;
}

/** @throws VMM_ERR_MACHINE */
function openSerials({ name, serials }: MachineSpec): readonly number[] {
  const fds: number[] = [];
  try {
    // Write only, as QEMU asks for in its set of descriptors; not through a link that somebody else has put there.
    const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
    for (const { path } of serials) fds.push(openSync(path, flags, 0o600));
    return fds;
  } catch (cause) {
    for (const fd of fds) closeSync(fd);
    const why = (cause as Error).message;
    throw errors.VMM_ERR_MACHINE({ details: { vm: name, why, hint: 'Check the path of the serial port.' }, cause });
  }
}

function bindSockets(spec: MachineSpec): { readonly qmp: number; readonly console: number } {
  const bind = (path: string): number => {
    rmSync(path, { force: true });
    return listenUnix(path, { backlog: 1, mode: 0o600 });
  };
  const qmp = bind(qmpSocket(spec));
  try {
    return { qmp, console: bind(consoleSocket(spec)) };
  } catch (e) {
    closeSync(qmp);
    throw e;
  }
}
