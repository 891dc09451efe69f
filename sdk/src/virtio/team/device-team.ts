// A device whose queues are served by several threads: the first one talks to the machine and the runtime and serves its
// share, each other one has an instance of the device of its own. For devices that say that their instances share
// nothing but descriptors (`parallel`).

import { closeSync } from 'node:fs';
import { errors } from '../../errors.ts';
import { duplicate } from '../../linux/descriptor-flags.ts';
import type { BackendDevice, QueueStart } from '../backend-device.ts';
import type { AnyDevice, DeviceLog, DeviceStats } from '../device.ts';
import type { DeviceRunner, RunnerLink } from '../device-runner.ts';
import type { QueueRecord, TraceBatch } from '../queue-tracer.ts';
import { Mate } from './mate.ts';
import { shareQueue } from './shared-queue.ts';
import type { MateEvent, MateMethod, MateMethods, MateStart, Place } from './team-messages.ts';

const MAX_THREADS = 64;

export class DeviceTeam implements BackendDevice {
  readonly #first: DeviceRunner;
  readonly #log: DeviceLog;
  readonly #mates: Mate[] = [];
  /** Queue → thread that serves it; `undefined`: the first. */
  readonly #served: Map<number, Mate | undefined> = new Map();

  /** @param threads in all, 1 to 64 @throws SDK_ERR_DEVICE, what the device's setup throws */
  static async create(
    first: DeviceRunner,
    start: MateStart & { readonly threads: number; readonly device: AnyDevice; readonly log: DeviceLog },
  ): Promise<DeviceTeam> {
    const { threads, device, log, ...mate } = start;
    const team = new DeviceTeam(first, log);
    const useful = Math.min(threads, first.queueCount, MAX_THREADS);
    if (useful > 1 && !first.parallel) {
      const why = 'its queues cannot be served by several threads';
      throw errors.SDK_ERR_DEVICE({ details: { device: device.name, why } });
    }
    for (let i = 1; i < useful; i++) {
      const died = (error: Error): void => {
        // What it had in flight is known to the machine: the next process finishes it.
        log.warn(`a thread of ${mate.id} died: ${error.stack ?? error.message}`);
        process.exit(1);
      };
      team.#mates.push(await Mate.start(mate, (event) => team.#event(event), died));
    }
    return team;
  }

  private constructor(first: DeviceRunner, log: DeviceLog) {
    this.#first = first;
    this.#log = log;
  }

  get features(): bigint {
    return this.#first.features;
  }
  get queueCount(): number {
    return this.#first.queueCount;
  }
  get queueSizes(): readonly number[] {
    return this.#first.queueSizes;
  }
  get configSize(): number {
    return this.#first.configSize;
  }
  get type(): DeviceRunner['type'] {
    return this.#first.type;
  }
  set link(link: RunnerLink | undefined) {
    this.#first.link = link;
  }

  readConfig(offset: number, length: number): Uint8Array {
    return this.#first.readConfig(offset, length);
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    this.#first.writeConfig(offset, bytes);
    this.#tell('writeConfig', { offset, bytes });
  }

  setFeatures(features: bigint): void {
    this.#first.setFeatures(features);
    this.#tell('setFeatures', features);
  }

  startQueue(start: QueueStart): void {
    const { index } = start.setup;
    const place = index % (this.#mates.length + 1);
    const mate = place === 0 ? undefined : this.#mates[place - 1];
    const shared = mate === undefined ? undefined : shareQueue(start);
    if (mate === undefined || shared === undefined) {
      this.#served.set(index, undefined);
      this.#first.startQueue(start);
      return;
    }
    this.#served.set(index, mate);
    const setup = { ...shared.setup, call: copyOf(shared.setup.call) };
    mate.ask('startQueue', { ...shared, setup }).catch((e: Error) => {
      this.#log.warn(`queue ${index} was not started: ${e.message}`);
      this.#first.link?.queueBroken(index);
    });
  }

  async stopQueue(index: number): Promise<number> {
    const mate = this.#served.get(index);
    this.#served.delete(index);
    return mate === undefined ? this.#first.stopQueue(index) : mate.ask('stopQueue', index);
  }

  setCall(index: number, fd: number): void {
    const mate = this.#served.get(index);
    if (mate === undefined) return this.#first.setCall(index, fd);
    const copy = copyOf(fd);
    mate.ask('setCall', { index, fd: copy }).catch(() => {
      if (copy >= 0) closeSync(copy);
    });
  }

  reset(): void {
    this.#first.reset();
    this.#tell('reset', null);
  }

  saveState(): Uint8Array {
    return this.#first.saveState();
  }

  loadState(bytes: Uint8Array): void {
    this.#first.loadState(bytes);
    this.#tell('loadState', bytes);
  }

  /** The answer is the first thread's; the others are asked the same. */
  async handle(method: string, params: unknown, fds: readonly number[]): Promise<unknown> {
    const answer = await this.#first.handle(method, params, fds);
    await Promise.all(this.#mates.map((mate) => mate.ask('handle', { method, params })));
    return answer;
  }

  /** One thread after the other. When the code does not work, the first one says so and all stay as they are. */
  async replace(device: AnyDevice, place: Place): Promise<void> {
    await this.#first.replace(device);
    for (const mate of this.#mates) await mate.ask('reload', place);
  }

  async trace(): Promise<TraceBatch> {
    const batches = await Promise.all([this.#first.trace(), ...this.#mates.map((mate) => mate.ask('trace', null))]);
    const records: QueueRecord[] = batches.flatMap((batch) => batch.records).sort((a, b) => a.us - b.us);
    return { records: records.slice(0, 512), missed: batches.reduce((sum, { missed }) => sum + missed, 0) };
  }

  async describe(): Promise<{ readonly described: Readonly<Record<string, unknown>>; readonly stats: DeviceStats }> {
    const described = this.#first.describe();
    if (this.#mates.length === 0) return { described, stats: this.#first.stats };
    const reports = await Promise.all(this.#mates.map((mate) => mate.ask('report', null)));
    const queues = [described, ...reports.map((report) => report.described)].flatMap((one) => one.queues as object[]);
    const stats: DeviceStats = {};
    for (const one of [this.#first.stats, ...reports.map((report) => report.stats)]) {
      for (const [name, value] of Object.entries(one)) stats[name] = (stats[name] ?? 0) + value;
    }
    return { described: { ...described, threads: this.#mates.length + 1, queues }, stats };
  }

  async close(): Promise<void> {
    await Promise.all([this.#first.close(), ...this.#mates.map((mate) => mate.close())]);
  }

  #tell<M extends MateMethod>(method: M, params: MateMethods[M][0]): void {
    for (const mate of this.#mates) {
      mate.ask(method, params).catch((e: Error) => this.#log.warn(`${method} failed in a thread: ${e.message}`));
    }
  }

  #event(event: MateEvent): void {
    if (event.kind === 'broken') this.#first.link?.queueBroken(event.index);
    else if (event.kind === 'mended') this.#first.link?.queueMended(event.index);
    else this.#log[event.level](event.message, event.fields as Readonly<Record<string, unknown>> | undefined);
  }
}

function copyOf(fd: number): number {
  return fd < 0 ? -1 : duplicate(fd);
}
