// All VMs of one runtime: from a description to a guest that runs, and back.

import type { PluginContext, Requires, ServiceTokens } from '@runtime/sdk';
import type { TraceBatch } from '@runtime/sdk/virtio';
import {
  type Accelerator,
  admitStart,
  type BalloonRequest,
  type BalloonState,
  beforeStart,
  type ConsoleChunk,
  type MachineExit,
  type MachineSpec,
  type StartOptions,
  type VmDescription,
  type VmDetail,
  type VmInfo,
  type VmSnapshot,
  type Vms,
} from '../contract.ts';
import { checkDescription } from '../description/parse.ts';
import { planVm, type VmPlan } from '../description/resolve.ts';
import type { DeviceManager } from '../device-manager.ts';
import { errors } from '../errors.ts';
import type { QemuMachine } from '../machine/qemu/qemu-machine.ts';
import { consoleLog } from '../machine/qemu/qemu-vm.ts';
import { type AssembleOptions, adoptDevices, type BootFiles, makePlace, startParts, type VmParts } from './assemble.ts';
import { leaseFor } from './leases.ts';
import { stopOrphans } from './orphans.ts';
import { removeOtherFolders, removeVmFolder } from './places.ts';
import { type VmRecord, VmRecords } from './records.ts';
import { reloadDevicesOf } from './reload-devices.ts';
import { checkSnapshot, partsOf, pluggedAfter, shapeOf, slotsAfter } from './snapshots.ts';
import { Vm } from './vm.ts';
import { type PluggedRequest, VmDevices } from './vm-devices.ts';

type Context = Pick<
  PluginContext<Requires, ServiceTokens, unknown, unknown>,
  'events' | 'hooks' | 'resources' | 'state' | 'log' | 'signal' | 'processes'
>;

export interface VmManagerOptions {
  readonly context: Context;
  readonly devices: DeviceManager;
  readonly machine: QemuMachine;
  readonly vmsFolder: string;
  /** '': logs lie in the folder of the VM and go with it. */
  readonly logFolder: string;
  /** Whether anybody has devices of that kind. */
  readonly hasKind: (kind: string) => Promise<boolean>;
  readonly accelerator: (asked: 'auto' | 'kvm' | 'tcg') => Promise<'kvm' | 'tcg'>;
  /** Of network cards that name none. */
  readonly netBackend: () => 'passt' | 'user';
  readonly bootFiles: (plan: VmPlan) => Promise<BootFiles>;
}

/** Longest wait of one call, ms. */
const MAX_WAIT = 60_000;
/** VMs that have ended and can still be looked at. */
const MAX_ENDED = 32;

export class VmManager implements Vms {
  readonly #options: VmManagerOptions;
  readonly #context: Context;
  readonly #records: VmRecords;
  readonly #plugged: VmDevices;
  readonly #vms: Map<string, Vm> = new Map();
  /** Aborted while nothing may be waited for: the code is about to be replaced. */
  #hush: AbortController = new AbortController();
  #released = false;

  constructor(options: VmManagerOptions) {
    const { context, devices, machine } = options;
    this.#options = options;
    this.#context = context;
    this.#records = new VmRecords(context.state);
    this.#plugged = new VmDevices({ context, devices, machine, records: this.#records });
  }

  /** Takes over the VMs which an earlier runtime has left running, or the code before this (`handed`). */
  async adoptAll(handed: readonly VmRecord[] | undefined): Promise<void> {
    const records = handed ?? (await this.#records.all());
    await Promise.all(
      records.map((record) =>
        this.#adopt(record).catch((err: unknown) => {
          this.#context.log.warn({ err, vm: record.name }, `VM ${record.name} could not be taken over`);
        }),
      ),
    );
    // A VM that the code before this is just starting has a folder, too.
    if (handed === undefined) removeOtherFolders(this.#options.vmsFolder, new Set(this.#vms.keys()));
  }

  /** @see stopOrphans */
  async stopOrphans(): Promise<void> {
    const { processes, log } = this.#context;
    await stopOrphans(processes, log, (name) => this.#vms.has(name));
  }

  async start(given: VmDescription, options: StartOptions = {}): Promise<VmInfo> {
    const { cwd = process.cwd() } = options;
    const named = { ...checkDescription(given, 'the description'), name: given.name ?? this.#freeName() };
    const description = { ...(await this.#asked(named)), name: named.name };
    const { name } = description;
    for (let before = this.#vms.get(name); before !== undefined; before = this.#vms.get(name)) {
      await this.#makeRoom(before);
    }
    const vm = new Vm(name, new Date().toISOString());
    this.#vms.set(name, vm);
    try {
      await this.#make(vm, description, { cwd, restore: options.restore });
    } catch (e) {
      vm.move('stopped');
      await vm.cleanup.disposeAsync().catch((err: unknown) => {
        this.#context.log.warn({ err, vm: name }, `not everything of VM ${name} was undone`);
      });
      // Only now: until then its name, its folder and its processes are in use.
      this.#forget(vm);
      vm.ended.resolve({ reason: 'stopped', detail: 'it did not start' });
      throw e;
    }
    return vm.info(this.#options.machine.pid(name));
  }

  async save(name: string, path: string): Promise<VmSnapshot> {
    const vm = this.#vm(name);
    vm.expect(['running', 'paused'], 'saved');
    const { spec, record } = vm;
    if (spec === undefined || record === undefined) throw errors.VMM_ERR_NOT_FOUND({ details: { vm: name } });
    if (vm.state === 'running') await this.pause(name);
    const program = await this.#options.machine.save(name, path);
    const { kernel, initrd, params, accelerator } = spec;
    const shape = shapeOf(record.plan, { kernel, initrd, params }, accelerator);
    return { path, program, shape, slots: record.holdings.slots };
  }

  async stop(name: string, options: { readonly force?: boolean } = {}): Promise<MachineExit> {
    const vm = this.#vm(name);
    if (vm.live) {
      const first = vm.state !== 'stopping';
      if (first) {
        vm.expect(['running', 'paused'], 'stopped');
        vm.move('stopping');
      }
      // Whoever has lost patience with a guest that was asked may insist.
      if (first || options.force === true) await this.#options.machine.stop(name, options);
    }
    return vm.ended.promise;
  }

  async list(): Promise<readonly VmInfo[]> {
    return [...this.#vms.values()].map((vm) => vm.info(this.#options.machine.pid(vm.name)));
  }

  async inspect(name: string): Promise<VmDetail> {
    return this.#vm(name).detail(this.#options.machine.pid(name));
  }

  async accelerator(): Promise<Accelerator> {
    return this.#options.accelerator('auto');
  }

  async pause(name: string): Promise<void> {
    const vm = this.#vm(name);
    vm.expect(['running'], 'paused');
    await this.#options.machine.pause(name);
    if (vm.state === 'running') vm.move('paused');
    this.#context.events.emit('vm:paused', { vm: name });
  }

  async resume(name: string): Promise<void> {
    const vm = this.#vm(name);
    vm.expect(['paused'], 'resumed');
    await this.#options.machine.resume(name);
    if (vm.state === 'paused') vm.move('running');
    this.#context.events.emit('vm:resumed', { vm: name });
  }

  async stats(name: string): Promise<Readonly<Record<string, Readonly<Record<string, number>>>>> {
    const vm = this.#live(name, 'measured');
    const machine = await this.#options.machine.stats(name);
    const devices = await Promise.all(
      [...vm.devices.values()].map(
        async ({ running }) => [running.id, await running.stats().catch(() => ({}))] as const,
      ),
    );
    return { machine, ...Object.fromEntries(devices) };
  }

  async wait(name: string, options: { readonly waitMs?: number } = {}): Promise<MachineExit | undefined> {
    const vm = this.#vm(name);
    const late = AbortSignal.any([
      this.#hush.signal,
      AbortSignal.timeout(Math.min(options.waitMs ?? MAX_WAIT, MAX_WAIT)),
    ]);
    return Promise.race([vm.ended.promise, aborted(late)]);
  }

  async remove(name: string): Promise<void> {
    const vm = this.#vm(name);
    vm.expect(['stopped', 'crashed'], 'removed');
    await vm.ended.promise;
    this.#forget(vm);
  }

  async readConsole(
    name: string,
    request?: { readonly from?: number; readonly waitMs?: number },
  ): Promise<ConsoleChunk> {
    this.#vm(name);
    const chunk = { ...request, waitMs: this.#hush.signal.aborted ? 0 : (request?.waitMs ?? 0) };
    return this.#options.machine.readConsole(name, chunk);
  }

  async writeConsole(name: string, bytes: Uint8Array): Promise<void> {
    this.#live(name, 'written to');
    await this.#options.machine.writeConsole(name, bytes);
  }

  async attach(name: string, device: PluggedRequest): Promise<string> {
    return this.#plugged.attach(this.#live(name, 'given a device'), device);
  }

  async detach(name: string, id: string): Promise<void> {
    await this.#plugged.detach(this.#live(name, 'relieved of a device'), id);
  }

  async traceDevice(name: string, id: string): Promise<TraceBatch> {
    return this.#live(name, 'watched').device(id).running.trace();
  }

  async describeDevice(name: string, id: string): Promise<Readonly<Record<string, unknown>>> {
    return this.#live(name, 'looked into').device(id).running.describe();
  }

  async reloadDevice(name: string, id: string): Promise<{ readonly ms: number }> {
    const result = await this.#live(name, 'changed').device(id).running.reload();
    this.#context.events.emit('vm:device-reloaded', { vm: name, device: id, ms: result.ms });
    return result;
  }

  /** The code of a plugin was replaced: that of the devices which it offers follows. */
  async reloadDevicesOf(plugin: string): Promise<void> {
    const reload = (vm: string, device: string): Promise<{ readonly ms: number }> => this.reloadDevice(vm, device);
    await reloadDevicesOf(plugin, { vms: this.#vms.values(), log: this.#context.log, reload });
  }

  async restartDevice(name: string, id: string): Promise<void> {
    const vm = this.#live(name, 'changed');
    await vm.device(id).running.restart();
    await vm.recoveries.get(id);
  }

  async balloon(name: string, request: BalloonRequest = {}): Promise<BalloonState> {
    this.#live(name, 'given or relieved of memory');
    return this.#options.machine.balloon(name, request);
  }

  async requestDevice(name: string, id: string, method: string, params: unknown): Promise<unknown> {
    return this.#live(name, 'asked').device(id).running.request(method, params);
  }

  /** The process of a device has come back. */
  deviceRestarted(name: string, device: string): void {
    const vm = this.#vms.get(name);
    if (vm === undefined || !vm.live || vm.state === 'starting') return;
    this.#plugged.returned(vm, device);
  }

  deviceFailed(name: string, device: string, why: string): void {
    this.#context.events.emit('vm:device-failed', { vm: name, device, why });
    this.#context.log.error({ vm: name, device, why }, `device ${device} of VM ${name} is gone`);
  }

  /** What is known of those that run, for the code that comes after this. */
  records(): readonly VmRecord[] {
    return [...this.#vms.values()].flatMap(({ live, record }) => (live && record !== undefined ? [record] : []));
  }

  /** Ends what waits, and has nothing wait; `false`: as before. */
  hush(on: boolean): void {
    if (on) {
      this.#hush.abort();
      this.#options.machine.wakeReaders();
    } else this.#hush = new AbortController();
  }

  /** Lets go of all; they go on, and are found again by the next runtime or the code that comes after this. */
  release(): void {
    this.#released = true;
    for (const vm of this.#vms.values()) {
      for (const { running } of vm.devices.values()) running.release();
    }
    this.#vms.clear();
  }

  /** Ends all, without asking the guests for long. */
  async stopAll(): Promise<void> {
    const live = [...this.#vms.values()].filter((vm) => vm.state === 'running' || vm.state === 'paused');
    await Promise.allSettled(live.map((vm) => this.stop(vm.name, { force: true })));
  }

  async #make(
    vm: Vm,
    description: VmDescription & { readonly name: string },
    { cwd, restore }: { readonly cwd: string; readonly restore: VmSnapshot | undefined },
  ): Promise<void> {
    const { context, machine } = this.#options;
    const { name } = vm;
    const plan = await this.#knownOnly(planVm(description, { cwd, netBackend: this.#options.netBackend() }));
    const leases = leaseFor(context.resources, plan, undefined, restore && slotsAfter(restore, plan));
    vm.cleanup.use(leases);
    const { holdings } = leases;
    vm.holdings = holdings;
    const [boot, accelerator] = await Promise.all([
      this.#options.bootFiles(plan),
      this.#options.accelerator(plan.accel),
    ]);
    if (restore !== undefined) checkSnapshot(restore, plan, shapeOf(plan, boot, accelerator));
    const parts = { holdings, boot, accelerator, cwd };
    const spec = await (restore === undefined ? this.#build(vm, plan, parts) : this.#goOn(vm, plan, parts, restore));
    vm.spec = spec;
    vm.consoleLog = consoleLog(spec);
    for (const { running } of vm.devices.values()) running.machineStarted();
    vm.record = { version: 1, name, plan, cwd, holdings, spec, startedAt: vm.startedAt };
    await this.#records.write(vm.record);
    vm.cleanup.defer(() => this.#records.remove(name));
    context.events.emit('vm:created', { vm: name, cid: holdings.cid });
    await machine.boot(name);
    vm.move('running');
    this.#watch(vm);
    context.events.emit('vm:started', { vm: name, cid: holdings.cid });
  }

  async #build(vm: Vm, plan: VmPlan, parts: VmParts): Promise<MachineSpec> {
    const place = makePlace(vm, plan, parts, this.#assembly());
    const spec = { ...place, ...(await startParts(vm, plan, place, parts, this.#assembly())) };
    await this.#options.machine.create(spec);
    this.#deferStop(vm);
    return spec;
  }

  /** What is not in the snapshot is started while that is loaded, and plugged in before the guest runs. */
  async #goOn(vm: Vm, plan: VmPlan, parts: VmParts, restore: VmSnapshot): Promise<MachineSpec> {
    const { machine } = this.#options;
    const place = makePlace(vm, plan, parts, this.#assembly());
    const start = (isInside: boolean) =>
      startParts(vm, partsOf(plan, restore, isInside), place, parts, this.#assembly());
    const load = async (): Promise<MachineSpec> => {
      const spec = { ...place, ...(await start(true)) };
      await machine.create(spec, restore);
      return spec;
    };
    const [loaded, others] = await Promise.allSettled([load(), start(false)]);
    if (loaded.status === 'rejected') throw loaded.reason;
    this.#deferStop(vm);
    if (others.status === 'rejected') throw others.reason;
    const spec = loaded.value;
    const { devices, natives } = others.value;
    for (const id of pluggedAfter(restore.slots, plan)) {
      const device = [...devices, ...natives].find((one) => one.id === id);
      if (device !== undefined) await machine.attach(vm.name, device);
    }
    return { ...spec, devices: [...spec.devices, ...devices], natives: [...spec.natives, ...natives] };
  }

  #assembly(): AssembleOptions {
    const { context, devices, vmsFolder, logFolder } = this.#options;
    return { devices, vmsFolder, logFolder, signal: context.signal };
  }

  /** Before its devices are. */
  #deferStop({ name, cleanup }: Vm): void {
    const { machine } = this.#options;
    cleanup.defer(async () => {
      if (await machine.alive(name)) await machine.stop(name, { force: true });
    });
  }

  async #adopt(record: VmRecord): Promise<void> {
    const { context, machine, devices } = this.#options;
    const { name, spec, holdings, cwd } = record;
    if (this.#vms.has(name)) return;
    const vm = new Vm(name, record.startedAt);
    vm.record = record;
    vm.spec = spec;
    vm.holdings = holdings;
    vm.consoleLog = consoleLog(spec);
    vm.cleanup.defer(() => removeVmFolder(this.#options.vmsFolder, name));
    vm.cleanup.defer(() => this.#records.remove(name));
    try {
      const { plan } = record;
      if (!(await machine.adopt(spec))) {
        vm.move('crashed');
        await vm.cleanup.disposeAsync();
        const detail = 'it ended while no runtime was there';
        context.events.emit('vm:crashed', { vm: name, reason: 'crashed', detail });
        return;
      }
      this.#vms.set(name, vm);
      this.#deferStop(vm);
      vm.cleanup.use(leaseFor(context.resources, plan, holdings));
      await adoptDevices(vm, plan, { holdings, directory: spec.directory, cwd }, { devices, signal: context.signal });
      vm.move((await machine.running(name)) ? 'running' : 'paused');
      this.#watch(vm);
    } catch (e) {
      this.#vms.delete(name);
      await vm.cleanup.disposeAsync().catch(() => {});
      throw e;
    }
  }

  /** When the machine ends, everything of it is undone. */
  #watch(vm: Vm): void {
    const { machine, context } = this.#options;
    void machine.exited(vm.name).then(async (exit) => {
      // Whoever has it now sees to that.
      if (this.#released) return;
      vm.exit = exit;
      const crashed = exit.reason === 'crashed';
      vm.move(crashed ? 'crashed' : 'stopped');
      await vm.cleanup.disposeAsync().catch((err: unknown) => {
        context.log.warn({ err, vm: vm.name }, `not everything of VM ${vm.name} was undone`);
      });
      vm.devices.clear();
      context.events.emit(crashed ? 'vm:crashed' : 'vm:stopped', { vm: vm.name, ...exit });
      vm.ended.resolve(exit);
      this.#forgetOldest();
    });
  }

  async #asked(description: VmDescription & { readonly name: string }): Promise<VmDescription> {
    const { hooks } = this.#context;
    const changed = await hooks.call(beforeStart, description);
    const checked = checkDescription(changed, 'the description, as plugins changed it');
    const veto = await hooks.call(admitStart, checked);
    if (veto === undefined) return checked;
    throw errors.VMM_ERR_VETO({ details: { vm: description.name, why: veto.deny } });
  }

  /** Devices that nobody asked for and nobody has are left out. */
  async #knownOnly(plan: VmPlan): Promise<VmPlan> {
    const known = await Promise.all(
      plan.devices.map(async ({ optional, kind }) => !optional || (await this.#options.hasKind(kind))),
    );
    return { ...plan, devices: plan.devices.filter((_, at) => known[at]) };
  }

  #vm(name: string): Vm {
    const vm = this.#vms.get(name);
    if (vm === undefined) throw errors.VMM_ERR_NOT_FOUND({ details: { vm: name } });
    return vm;
  }

  #live(name: string, verb: string): Vm {
    const vm = this.#vm(name);
    vm.expect(['running', 'paused', 'stopping'], verb);
    return vm;
  }

  /** One whose machine has ended still has a folder, sockets and processes for a moment. @throws VMM_ERR_EXISTS */
  async #makeRoom(before: Vm): Promise<void> {
    if (before.live) throw errors.VMM_ERR_EXISTS({ details: { vm: before.name } });
    await before.ended.promise;
    this.#forget(before);
  }

  #freeName(): string {
    for (let n = 1; ; n++) if (!this.#vms.has(`vm${n}`)) return `vm${n}`;
  }

  #forget(vm: Vm): void {
    // Another one of that name may be there already.
    if (this.#vms.get(vm.name) !== vm) return;
    this.#vms.delete(vm.name);
    this.#options.machine.forget(vm.name);
  }

  #forgetOldest(): void {
    const ended = [...this.#vms.values()].filter((vm) => !vm.live);
    for (const vm of ended.slice(0, Math.max(0, ended.length - MAX_ENDED))) this.#forget(vm);
  }
}

/** Resolves when `signal` is aborted. */
function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}
