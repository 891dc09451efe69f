// All Termina VMs of this runtime: how they are started, looked at and ended.

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { VmDescription, VmInfo, Vms } from '@runtime/plugin-vmm/contract';
import type { PluginContext, Requires, ServiceTokens } from '@runtime/sdk';
import type { CiceroneManager } from '../cicerone/cicerone-manager.ts';
import type { CrostiniConfig } from '../config.ts';
import type {
  Concierge,
  GuestEndpoint,
  ImageProfile,
  LedPort,
  StartTermina,
  StopReason,
  SyncedTimes,
  TerminaVm,
} from '../contract.ts';
import type { RunningDisk } from '../disks/guest-filesystem.ts';
import { errors } from '../errors.ts';
import { damageOn } from '../image/checking.ts';
import { type Networks, PasstNetworks } from '../network/networks.ts';
import type { Snapshots } from '../snapshots/snapshots.ts';
import { wakeGuest } from '../snapshots/wake.ts';
import type { BalloonedVm } from './balloon-controller.ts';
import { consoleTail } from './console-tail.ts';
import { guestFilesystem } from './guest-filesystem.ts';
import type { LogKeeper } from './log-keeper.ts';
import {
  callMaitred,
  checkMaitred,
  GuestRefusal,
  prepareToSuspend,
  setTime,
  setUpGuest,
  startTermina,
} from './maitred.ts';
import { keyText, machineName, TEMPLATE_PREFIX, type VmKey, vmKey } from './names.ts';
import type { GuestNetwork } from './network.ts';
import { removeOtherSockets } from './places.ts';
import { GUEST_PORTS, HOST_PORTS, type HostPort } from './ports.ts';
import { type VmRecord, VmRecords } from './records.ts';
import { listenForStartup } from './startup-listener.ts';
import { type StartWatcher, TerminaEntry } from './vm.ts';

type Context = Pick<
  PluginContext<Requires, ServiceTokens, unknown, unknown>,
  'events' | 'resources' | 'state' | 'log' | 'track'
>;

/** What a guest is booted with. */
export interface BootImage {
  readonly id: string;
  readonly kernel: string;
  readonly initrd: string;
  /** The first disk, read-only. */
  readonly rootfs: string;
  readonly params: string;
}

export interface ImageProgress {
  readonly what: string;
  readonly done?: number | undefined;
  readonly total?: number | undefined;
}

/** As the vmm plugin has it. */
export interface StatefulDisk {
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
  readonly sparse?: boolean;
}

export interface ConciergeOptions {
  readonly context: Context;
  readonly vms: Vms;
  readonly config: CrostiniConfig;
  /** Only the user may enter it. Its path has at most 60 bytes. */
  readonly socketFolder: string;
  readonly ensureImage: (
    profile: ImageProfile,
    onProgress: (progress: ImageProgress) => void,
    /** Its root file system is not used, and so is not checked. */
    isReplaced: boolean,
  ) => Promise<BootImage>;
  /** The disk that a VM keeps its state on; made when there is none. `undefined`: it has none. */
  readonly statefulDisk?: (key: VmKey, bytes: number) => Promise<StatefulDisk | undefined>;
  /** VMs go on from them instead of booting. */
  readonly snapshots?: Pick<Snapshots, 'find' | 'prepare'>;
  /** Keeps what VMs log. */
  readonly logs?: Pick<LogKeeper, 'watch' | 'ended'>;
  /** Default: passt. */
  readonly networks?: Networks;
  /** Looks after the containers of VMs. */
  readonly containers?: Pick<CiceroneManager, 'watch'>;
}

export interface StartWishes {
  /** Ends the start, unless somebody else waits for it, too. */
  readonly signal?: AbortSignal;
  readonly onStage?: (stage: string, fraction?: number) => void;
}

interface Owned {
  readonly owner?: string;
}

const GIB = 2 ** 30;
/** The second disk, as the vmm plugin calls it. */
const STATEFUL_ID = 'block1';

export class ConciergeManager implements Concierge {
  readonly #options: ConciergeOptions;
  readonly #context: Context;
  readonly #vms: Vms;
  readonly #records: VmRecords;
  readonly #networks: Networks;
  readonly #entries: Map<string, TerminaEntry> = new Map();
  #released = false;
  readonly #letGo: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(options: ConciergeOptions) {
    this.#options = options;
    this.#context = options.context;
    this.#vms = options.vms;
    this.#records = new VmRecords(options.context.state);
    this.#networks = options.networks ?? new PasstNetworks(options.context.resources);
    const { events } = options.context;
    events.on('vm:created', ({ vm, cid }) => this.#machineMade(vm, cid));
    events.on('vm:paused', ({ vm }) => this.#suspended(vm, true));
    events.on('vm:resumed', ({ vm }) => this.#suspended(vm, false));
    for (const topic of ['vm:stopped', 'vm:crashed'] as const) {
      events.on(topic, async ({ vm, detail }) => this.#machineEnded(vm, detail));
    }
  }

  /** Of the hook `vm/vsock-connect`. */
  answer(machine: string, port: number): { readonly path: string } | undefined {
    const known = Object.values(HOST_PORTS).find((one) => one === port);
    if (known === undefined || this.#ofMachine(machine) === undefined) return undefined;
    return { path: this.#socketPath(machine, known) };
  }

  // Starting

  startVm(request: StartTermina): Promise<TerminaVm> {
    return this.start(request);
  }

  async start(request: StartTermina, { signal, onStage }: StartWishes = {}): Promise<TerminaVm> {
    signal?.throwIfAborted();
    const key = vmKey(request.name, request.owner);
    const watcher = { onStage };
    const entry = await this.#entryToStart(key, request, watcher);
    if (entry.start === undefined) return entry.info();
    const left = Promise.withResolvers<never>();
    const leave = (): void => {
      entry.watchers.delete(watcher);
      if (entry.watchers.size > 0) left.reject(signal?.reason);
      else entry.abort.abort(signal?.reason);
    };
    if (signal?.aborted === true) leave();
    else signal?.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([entry.start, left.promise]);
    } finally {
      signal?.removeEventListener('abort', leave);
      entry.watchers.delete(watcher);
    }
  }

  /** One that runs or starts, else a new one that starts. */
  async #entryToStart(key: VmKey, request: StartTermina, watcher: StartWatcher): Promise<TerminaEntry> {
    for (;;) {
      const there = this.#entries.get(keyText(key));
      if (there === undefined) break;
      if (there.state === 'running') return there;
      if (there.state === 'starting' && !there.abort.signal.aborted) {
        there.watchers.add(watcher);
        return there;
      }
      await there.gone.promise;
    }
    const profile = request.profile ?? this.#options.config.profile;
    const entry = new TerminaEntry(key, machineName(key), profile, new Date().toISOString());
    entry.watchers.add(watcher);
    this.#entries.set(keyText(key), entry);
    entry.start = this.#context.track(`start of VM ${key.name}`, this.#begin(entry, request));
    // Whoever asked hears of it; nobody else has to.
    entry.start.catch(() => {});
    return entry;
  }

  /** All or nothing. */
  async #begin(entry: TerminaEntry, request: StartTermina): Promise<TerminaVm> {
    try {
      await this.#boot(entry, request);
      await this.#shakeHands(entry);
      await this.#records.write(this.#recordOf(entry, 'running'));
      entry.abort.signal.throwIfAborted();
      if (entry.ended) await this.#untilEnded(entry);
      entry.move('running');
      entry.start = undefined;
      this.#tell('termina:started', entry);
      return entry.info();
    } catch (e) {
      entry.move('failure');
      await this.#giveBack(entry);
      throw this.#explain(entry, e);
    }
  }

  async #boot(entry: TerminaEntry, request: StartTermina): Promise<void> {
    const { ensureImage, config } = this.#options;
    const { key, machine, profile, cleanup } = entry;
    const { signal } = entry.abort;
    entry.stage('preparing the image');
    const progress = ({ what, done, total }: ImageProgress): void =>
      entry.stage(what, done === undefined || total === undefined || total === 0 ? undefined : done / total);
    const found = await orAborted(ensureImage(profile, progress, request.files?.rootfs !== undefined), signal);
    const image = { ...found, ...request.files };
    entry.image = image.id;
    entry.cpus = request.cpus ?? config.cpus;
    entry.memoryMib = request.memoryMib ?? config.mem[profile];
    const link = cleanup.use(await this.#networks.open({ key: keyText(key), machine }));
    entry.subnet = link.subnet;
    entry.network = link.network;
    await this.#listen(entry);
    await this.#records.write(this.#recordOf(entry, 'starting'));
    cleanup.defer(() => this.#records.remove(key));
    const disk =
      profile === 'full'
        ? await this.#options.statefulDisk?.(key, request.diskBytes ?? config.diskGib * GIB)
        : undefined;
    signal.throwIfAborted();
    entry.stage('starting the machine');
    const balloon = config.balloon.policy !== 'off';
    const description = { ...describe(entry, image, disk, request), balloon };
    const info = await this.#startMachine(entry, description, canBeSaved(request));
    this.#deferEnd(entry);
    await link.attach();
    await this.#learn(entry, info);
    this.#machineMade(machine, info.cid);
    const seconds = info.accelerator === 'kvm' ? config.startSeconds : config.startSecondsTcg;
    entry.stage('waiting for the guest');
    await this.#untilReady(entry, request.timeoutMs ?? seconds * 1_000);
  }

  /** From a snapshot, if there is one of its kind and that goes well; else from its beginning. */
  async #startMachine(entry: TerminaEntry, description: VmDescription, isCommon: boolean): Promise<VmInfo> {
    const { snapshots } = this.#options;
    if (snapshots === undefined || !isCommon) return this.#vms.start(description);
    const { machine, key, abort } = entry;
    const onWait = (): void => entry.stage('making a snapshot');
    const found = await orAborted(snapshots.find(description, onWait), abort.signal);
    if (found !== undefined) {
      // What happens to its machine before it is awake is nobody else's business.
      const restoring = new AbortController();
      entry.restoring = restoring;
      const over = AbortSignal.any([abort.signal, restoring.signal]);
      try {
        const info = await this.#vms.start(found.description, { restore: found.snapshot });
        const { directory } = await this.#vms.inspect(machine);
        await orAborted(wakeGuest(directory, over), over);
        over.throwIfAborted();
        entry.ready.resolve();
        return info;
      } catch (err) {
        // Also one that has ended: until everything of it is undone, its end would be taken for that of the next.
        await this.#vms.stop(machine, { force: true }).catch(() => {});
        abort.signal.throwIfAborted();
        this.#context.log.warn({ err, vm: key.name }, `VM ${key.name} boots: its snapshot is no good, and was removed`);
        found.discard();
      } finally {
        entry.restoring = undefined;
      }
    }
    const info = await this.#vms.start(description);
    // Beside the boot of this one it would only slow it down.
    entry.ready.promise.then(() => this.#context.track('snapshot', snapshots.prepare(description))).catch(() => {});
    return info;
  }

  #deferEnd(entry: TerminaEntry): void {
    const { watch } = entry;
    entry.cleanup.defer(() => watch?.drain());
    watch?.watchConsole();
    entry.cleanup.defer(async () => {
      if (await this.#isAlive(entry.machine)) await this.#vms.stop(entry.machine, { force: true });
    });
  }

  async #listen(entry: TerminaEntry): Promise<void> {
    const { key, machine, cleanup } = entry;
    const socketPath = (port: number): string => this.#socketPath(machine, port as HostPort);
    const isEnding = (): boolean => entry.state === 'stopping';
    entry.watch = await this.#options.logs?.watch({ key, machine, socketPath, isEnding });
    if (entry.watch !== undefined) cleanup.use(entry.watch);
    const isNew = entry.state === 'starting';
    const containers = await this.#options.containers?.watch({ key, machine, socketPath, isNew });
    if (containers !== undefined) entry.containers = cleanup.use(containers);
    const listener = await listenForStartup(socketPath(HOST_PORTS.startup), () => {
      if (entry.state !== 'starting') entry.expectRunning('made ready');
      entry.ready.resolve();
    });
    entry.listener = cleanup.use(listener);
  }

  async #untilReady(entry: TerminaEntry, timeoutMs: number): Promise<void> {
    const { name } = entry.key;
    const late = new AbortController();
    const timeout = delay(timeoutMs, undefined, { signal: late.signal }).then(() => 'late' as const);
    timeout.catch(() => {});
    try {
      const outcome = await orAborted(
        Promise.race([entry.ready.promise, this.#untilEnded(entry), timeout]),
        entry.abort.signal,
      );
      if (outcome !== 'late') return;
    } finally {
      late.abort();
    }
    const console = await consoleTail(this.#vms, entry.machine);
    throw errors.CROSTINI_ERR_VM_SILENT({ details: { vm: name, seconds: timeoutMs / 1_000, console } });
  }

  async #untilEnded({ key, machine, machineEnded, image }: TerminaEntry): Promise<never> {
    const why = await machineEnded.promise;
    const console = await consoleTail(this.#vms, machine);
    const damage = damageOn(console);
    if (damage !== undefined) throw errors.CROSTINI_ERR_IMAGE_DAMAGED({ details: { image, why: damage } });
    throw errors.CROSTINI_ERR_VM_ENDED({ details: { vm: key.name, why, console } });
  }

  async #shakeHands(entry: TerminaEntry): Promise<void> {
    const { directory, network, abort } = entry;
    if (network === undefined) throw new Error(`VM ${entry.key.name} has no network`);
    entry.stage('setting up the guest');
    const client = callMaitred(directory);
    entry.cleanup.use(client);
    entry.client = client;
    const ended = this.#untilEnded(entry);
    ended.catch(() => {});
    await orAborted(Promise.race([setUpGuest(client, network, abort.signal), ended]), abort.signal);
    if (entry.profile !== 'full') return;
    entry.stage('mounting its disk');
    await orAborted(Promise.race([startTermina(client, network, abort.signal), ended]), abort.signal);
  }

  /** What was thrown, in the words of this plugin. */
  #explain({ key, abort }: TerminaEntry, e: unknown): unknown {
    if (abort.signal.aborted) return abort.signal.reason;
    if (!isRpcError(e) && !(e instanceof GuestRefusal)) return e;
    const why = `its maitred did not do what it was asked: ${isRpcError(e) ? e.details : e.message}`;
    const hint = `Its console may say why: runtime logs ${key.name}`;
    return errors.CROSTINI_ERR_VM_START({ details: { vm: key.name, why, hint }, cause: e });
  }

  // Stopping

  async stopVm(name: string, options: Owned & { readonly reason?: StopReason } = {}): Promise<void> {
    const entry = this.#entries.get(keyText(vmKey(name, options.owner)));
    if (entry !== undefined) await this.#stop(entry, options.reason ?? 'STOP_VM_REQUESTED');
  }

  async stopAllVms(reason: StopReason = 'STOP_ALL_VMS_REQUESTED'): Promise<void> {
    const results = await Promise.allSettled([...this.#entries.values()].map((entry) => this.#stop(entry, reason)));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #stop(entry: TerminaEntry, reason: StopReason): Promise<void> {
    if (entry.state === 'starting') {
      entry.stopReason = reason;
      const details = { vm: entry.key.name, state: 'stopped', verb: 'started at the same time' };
      entry.abort.abort(errors.CROSTINI_ERR_VM_STATE({ details }));
    } else if (entry.state === 'running') {
      entry.move('stopping');
      entry.stopReason = reason;
      this.#tell('termina:stopping', entry);
      entry.stop = this.#descend(entry);
    }
    await entry.stop;
    await entry.gone.promise;
  }

  /** The ladder: maitred, and when it does not answer or its machine does not end, the machine. */
  async #descend(entry: TerminaEntry): Promise<void> {
    const { askSeconds, endSeconds } = this.#options.config.stop;
    const { machine, client, machineEnded } = entry;
    // One that stands still hears nothing.
    if (entry.suspended) await this.#vms.resume(machine).catch(() => {});
    const ended = machineEnded.promise.then(() => true);
    const asked = client?.call.Shutdown({}, { deadlineMs: askSeconds * 1_000 }).then(
      () => true,
      () => false,
    );
    // A guest may be gone before its answer is.
    const answered = await Promise.race([asked ?? false, ended]);
    if (answered && (await withinMs(ended, endSeconds * 1_000))) return;
    if (await this.#isAlive(machine)) await this.#vms.stop(machine, { force: true });
  }

  // Suspending

  async suspendVm(name: string, options: Owned = {}): Promise<void> {
    const entry = this.#running(name, options, 'suspended');
    if (entry.suspended) return;
    if (entry.client !== undefined) await prepareToSuspend(entry.client);
    await this.#vms.pause(entry.machine);
    entry.suspended = true;
  }

  async resumeVm(name: string, options: Owned = {}): Promise<void> {
    const entry = this.#running(name, options, 'resumed');
    if (!entry.suspended) return;
    await this.#vms.resume(entry.machine);
    entry.suspended = false;
    if (entry.client !== undefined) await setTime(entry.client);
  }

  async syncVmTimes(): Promise<SyncedTimes> {
    const awake = [...this.#entries.values()].filter(({ state, suspended }) => state === 'running' && !suspended);
    const results = await Promise.allSettled(awake.map(async ({ client }) => client && setTime(client)));
    const failures = results.flatMap((result, at) =>
      result.status === 'fulfilled' ? [] : [`${awake[at]?.key.name}: ${(result.reason as Error).message}`],
    );
    return { asked: awake.length, failures };
  }

  // Looking

  async listVms({ owner }: Owned = {}): Promise<readonly TerminaVm[]> {
    const all = [...this.#entries.values()].map((entry) => entry.info());
    return owner === undefined ? all : all.filter((vm) => vm.owner === owner.toLowerCase());
  }

  async getVm(name: string, { owner }: Owned = {}): Promise<TerminaVm> {
    return this.#entry(name, owner).info();
  }

  async endpoint(name: string, options: Owned = {}): Promise<GuestEndpoint> {
    const { cid, directory, suspended } = this.#running(name, options, 'called');
    if (suspended) {
      throw errors.CROSTINI_ERR_VM_STATE({
        details: { vm: name, state: 'suspended', verb: 'called before it is resumed' },
      });
    }
    return { cid, directory };
  }

  /** For whoever changes its size; `undefined`: no VM uses it. */
  runningDisk(owner: string, name: string): RunningDisk | undefined {
    const entry = this.#entries.get(keyText(vmKey(name, owner)));
    if (entry === undefined || entry.profile !== 'full') return undefined;
    const { machine, client } = entry;
    return { machine, device: STATEFUL_ID, filesystem: guestFilesystem(() => client) };
  }

  /** Those whose memory may change while they run. */
  ballooned(): readonly BalloonedVm[] {
    return [...this.#entries.values()]
      .filter(({ state, suspended }) => state === 'running' && !suspended)
      .map(({ key, cid, machine, memoryMib }) => ({
        ...key,
        ...{ key: `${keyText(key)} ${cid}`, machine, maxMib: memoryMib },
      }));
  }

  /** True when everything of it is given back; false when somebody else looks after it now, who is to be asked. */
  async untilGone(name: string, { owner }: Owned = {}): Promise<boolean> {
    const entry = this.#entries.get(keyText(vmKey(name, owner)));
    if (entry === undefined) return !this.#released;
    return await Promise.race([entry.gone.promise.then(() => true), this.#letGo.promise.then(() => false)]);
  }

  // From one runtime, or one version of this code, to the next

  /** Takes over the VMs that go on, and ends those whose start was not finished. */
  async adoptAll(handed: readonly VmRecord[] | undefined): Promise<void> {
    const records = handed ?? (await this.#records.all());
    const machines = new Map((await this.#vms.list()).map((info) => [info.name, info] as const));
    for (const record of records) {
      try {
        await this.#adopt(record, machines.get(record.machine));
      } catch (err) {
        this.#context.log.warn({ err, vm: record.name }, `VM ${record.name} could not be taken over, and is ended`);
        // Nobody could reach it, nor start another one of its name.
        await this.#vms.stop(record.machine, { force: true }).catch(() => {});
        await this.#records.remove({ owner: record.owner, name: record.name });
      }
    }
    // Of a runtime that was killed while it made a snapshot.
    for (const { name } of [...machines.values()].filter((info) => info.name.startsWith(TEMPLATE_PREFIX))) {
      await this.#vms.stop(name, { force: true }).catch(() => {});
    }
    const machinesHere = [...this.#entries.values()].map(({ machine }) => machine);
    removeOtherSockets(this.#options.socketFolder, machinesHere);
    try {
      await this.#networks.settle();
    } catch (err) {
      this.#context.log.warn({ err }, 'the network of VMs that are no more could not be removed');
    }
  }

  async #adopt(record: VmRecord, info: VmInfo | undefined): Promise<void> {
    const key = { owner: record.owner, name: record.name };
    if (info === undefined || !isLive(info)) {
      await this.#records.remove(key);
      return;
    }
    if (record.state === 'starting') {
      await this.#vms.stop(record.machine, { force: true });
      await this.#records.remove(key);
      return;
    }
    const entry = new TerminaEntry(key, record.machine, record.profile, record.startedAt);
    entry.state = 'running';
    entry.announced = true;
    entry.image = record.image;
    entry.ready.resolve();
    try {
      const { machine, subnet, network: backend = 'passt' } = record;
      const link = entry.cleanup.use(await this.#networks.adopt({ key: keyText(key), machine, subnet, backend }));
      await link.attach().catch((err: unknown) => {
        this.#context.log.warn({ err, vm: key.name }, `VM ${key.name} was taken over, but has no network`);
      });
      entry.subnet = subnet;
      entry.network = link.network;
      await this.#listen(entry);
      await this.#learn(entry, info);
      const client = callMaitred(entry.directory);
      entry.cleanup.use(client);
      entry.client = client;
    } catch (e) {
      await entry.cleanup.disposeAsync().catch(() => {});
      throw e;
    }
    entry.cleanup.defer(() => this.#records.remove(key));
    this.#deferEnd(entry);
    this.#entries.set(keyText(key), entry);
    // Nobody has heard of an end before this.
    if (!(await this.#isAlive(record.machine))) {
      await this.#machineEnded(record.machine, 'it ended while it was taken over');
      return;
    }
    entry.suspended = info.state === 'paused';
    if (!entry.suspended) void this.#greet(entry);
  }

  /** One that has hung meanwhile can still be stopped; that is the user's to say. */
  async #greet(entry: TerminaEntry): Promise<void> {
    const { key, client } = entry;
    try {
      if (client !== undefined) await checkMaitred(client);
    } catch (err) {
      if (this.#released || entry.state !== 'running') return;
      this.#context.log.warn({ err, vm: key.name }, `VM ${key.name} was taken over, but its maitred does not answer`);
    }
  }

  /** Of those that run, for the code that comes after this. */
  records(): readonly VmRecord[] {
    return [...this.#entries.values()]
      .filter(({ state }) => state === 'running')
      .map((e) => this.#recordOf(e, 'running'));
  }

  /** Ends starts that are under way, and lets go of the rest: they go on, and are found again. */
  async release(): Promise<void> {
    const starting = [...this.#entries.values()].filter(({ state }) => state === 'starting');
    await Promise.all(starting.map((entry) => this.#stop(entry, 'SERVICE_SHUTDOWN')));
    this.#released = true;
    this.#letGo.resolve();
    for (const { client, containers, listener, watch } of this.#entries.values()) {
      containers?.[Symbol.dispose]();
      client?.[Symbol.dispose]();
      listener?.[Symbol.dispose]();
      watch?.[Symbol.dispose]();
    }
    this.#entries.clear();
  }

  // What happens to machines

  #machineMade(machine: string, cid: number | undefined): void {
    const entry = this.#ofMachine(machine);
    if (entry === undefined || entry.announced || entry.restoring !== undefined || entry.state !== 'starting') return;
    entry.cid = cid ?? 0;
    entry.announced = true;
    this.#tell('termina:starting', entry);
  }

  #suspended(machine: string, suspended: boolean): void {
    const entry = this.#ofMachine(machine);
    if (entry !== undefined) entry.suspended = suspended;
  }

  async #machineEnded(machine: string, detail: string): Promise<void> {
    const entry = this.#ofMachine(machine);
    if (entry === undefined || entry.ended) return;
    if (entry.restoring !== undefined) {
      entry.restoring.abort(new Error(detail));
      return;
    }
    entry.ended = true;
    entry.machineEnded.resolve(detail);
    // A start that is under way sees to it.
    if (entry.state === 'starting' || entry.state === 'failure') return;
    entry.state = 'stopped';
    await this.#giveBack(entry);
  }

  async #giveBack(entry: TerminaEntry): Promise<void> {
    const { key, cleanup, gone } = entry;
    try {
      await cleanup.disposeAsync();
    } catch (err) {
      this.#context.log.warn({ err, vm: key.name }, `not everything of VM ${key.name} was undone`);
    }
    this.#entries.delete(keyText(key));
    this.#options.logs?.ended(key);
    if (entry.announced) {
      const { cid, stopReason: reason } = entry;
      this.#context.events.emit('termina:stopped', { vm: key.name, owner: key.owner, cid, reason });
    }
    gone.resolve();
  }

  // Small things

  #tell(topic: 'termina:starting' | 'termina:started' | 'termina:stopping', { key, cid }: TerminaEntry): void {
    this.#context.events.emit(topic, { vm: key.name, owner: key.owner, cid });
  }

  async #learn(entry: TerminaEntry, { cid, pid, memoryMib, cpus, name }: VmInfo): Promise<void> {
    entry.cid = cid ?? 0;
    entry.pid = pid;
    entry.memoryMib = memoryMib;
    entry.cpus = cpus;
    entry.directory = (await this.#vms.inspect(name)).directory;
  }

  async #isAlive(machine: string): Promise<boolean> {
    return (await this.#vms.list()).some((info) => info.name === machine && isLive(info));
  }

  #recordOf(entry: TerminaEntry, state: VmRecord['state']): VmRecord {
    const { key, machine, profile, image, subnet, startedAt } = entry;
    const network = entry.network?.tap === undefined ? {} : { network: 'tap' as const };
    return { version: 1, ...key, machine, state, type: 'termina', profile, image, subnet, startedAt, ...network };
  }

  #entry(name: string, owner: string | undefined): TerminaEntry {
    const entry = this.#entries.get(keyText(vmKey(name, owner)));
    if (entry === undefined) throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: name } });
    return entry;
  }

  #running(name: string, { owner }: Owned, verb: string): TerminaEntry {
    const entry = this.#entry(name, owner);
    entry.expectRunning(verb);
    return entry;
  }

  #ofMachine(machine: string): TerminaEntry | undefined {
    return this.#entries.values().find((entry) => entry.machine === machine);
  }

  #socketPath(machine: string, port: HostPort): string {
    return join(this.#options.socketFolder, `${machine}.${port}`);
  }
}

/** Those with kernels, root file systems or parameters of their own are one of a kind. */
function canBeSaved({ files, kernelParams = [] }: StartTermina): boolean {
  return files === undefined && kernelParams.length === 0;
}

function describe(
  { machine, memoryMib, cpus, network }: TerminaEntry,
  { kernel, initrd, rootfs, params }: BootImage,
  disk: StatefulDisk | undefined,
  { kernelParams = [], disks = [], ports = [] }: StartTermina,
): VmDescription {
  return {
    name: machine,
    kernel,
    initrd,
    params: [params, ...kernelParams],
    mem: memoryMib,
    cpus,
    block: [
      { path: rootfs, ro: true, format: 'raw' },
      ...(disk === undefined ? [] : [disk]),
      ...disks.map(({ path, readOnly }) => ({ path, ro: readOnly, format: 'raw' as const })),
    ],
    vsock: { ports: Object.values(GUEST_PORTS) },
    ...(network === undefined ? {} : { net: [{ ...cardOf(network), ...portsOf(ports) }] }),
  };
}

function cardOf({ address, prefix, gateway, dns, tap }: GuestNetwork) {
  if (tap !== undefined) return { backend: 'tap' as const, 'tap-name': tap };
  return { address: `${address}/${prefix}`, gateway, dns };
}

/** In the words of passt(1). */
function portsOf(ports: readonly LedPort[]): { readonly tcp?: string[]; readonly udp?: string[] } {
  const led = (wanted: LedPort['protocol']): string[] =>
    ports
      .filter(({ protocol }) => protocol === wanted)
      .map(({ address, hostPort, guestPort }) => `${address}/${hostPort}:${guestPort}`);
  return ports.length === 0 ? {} : { tcp: led('tcp'), udp: led('udp') };
}

const isLive = ({ state }: VmInfo): boolean => state !== 'stopped' && state !== 'crashed';

/** As `promise`, unless `signal` is aborted before. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  promise.catch(() => {});
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Whether it resolves within that time. */
async function withinMs(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const ended = new AbortController();
  const late = delay(ms, false, { signal: ended.signal }).catch(() => false);
  const inTime = await Promise.race([promise.then(() => true), late]);
  ended.abort();
  return inTime;
}

/** What grpc-js rejects a call with. */
function isRpcError(e: unknown): e is Error & { readonly details: string } {
  return e instanceof Error && 'details' in e && typeof e.details === 'string' && 'metadata' in e;
}
