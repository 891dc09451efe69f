// One device at work: its code, its queues, its configuration space, and the change from one version of its code to the
// next while the driver goes on. The vhost-user back end drives it on one side, the runtime's control channel on the other.

import type { Handover, SchemaResult } from '@runtime/core';
import { isRuntimeError } from '@runtime/core/errors';
import { errors } from '../errors.ts';
import { watch } from '../linux/watch.ts';
import type { BackendDevice, QueueStart } from './backend-device.ts';
import { DeviceConfigSpace, MAX_CONFIG_BYTES } from './config-space.ts';
import type { VirtioDeviceName } from './constants.ts';
import type { AnyDevice, ControlMessage, DeviceContext, DeviceInstance, DeviceLog, DeviceStats } from './device.ts';
import { COMMON_FEATURES, featureMask } from './device-features.ts';
import type { IoEngine } from './device-io.ts';
import { DeviceLoop } from './device-loop.ts';
import type { TraceBatch } from './queue-tracer.ts';
import { createVirtqueue, type Virtqueue } from './virtqueue.ts';

/** Finishing what is outstanding before code is replaced, in ms. */
const QUIESCE_MS = 10_000;
/** The same, for code that has failed: it may wait for what will never end. */
const FAILED_QUIESCE_MS = 1_000;
const DEFAULT_QUEUE_SIZE = 256;
const MAX_QUEUE_SIZE = 32_768;
const MAX_QUEUES = 256;

export interface RunnerOptions {
  readonly id: string;
  readonly device: AnyDevice;
  /** As they came; the device's schema checks them. */
  readonly options: unknown;
  readonly fds: Readonly<Record<string, number>>;
  readonly io: IoEngine;
  readonly log: DeviceLog;
  request(method: string, params: unknown, fds?: readonly number[]): Promise<ControlMessage>;
}

/** What the back end offers the runner; set when there is a connection. */
export interface RunnerLink {
  notifyConfigChange(): void;
  queueBroken(index: number): void;
  /** It serves again, as other code has taken over. */
  queueMended(index: number): void;
}

interface Generation {
  readonly definition: AnyDevice;
  /** As its own schema has them: defaults may be others than those of the code before. */
  readonly options: unknown;
  readonly instance: DeviceInstance<unknown>;
  readonly abort: AbortController;
}

export class DeviceRunner implements BackendDevice {
  readonly id: string;
  readonly queueCount: number;
  readonly queueSizes: readonly number[];
  readonly configSize: number;
  readonly features: bigint;
  readonly stats: DeviceStats = {};
  link: RunnerLink | undefined;
  readonly #start: RunnerOptions;
  readonly #config: DeviceConfigSpace;
  readonly #loop: DeviceLoop;
  /** Of the queues that run. */
  readonly #starts: Map<number, QueueStart> = new Map();
  #generation: Generation;
  #acked = 0n;
  #reloads = 0;
  #failure: string | undefined;

  /** @throws SDK_ERR_DEVICE when the device cannot be one; what its setup throws */
  static async create(start: RunnerOptions): Promise<DeviceRunner> {
    return new DeviceRunner(start, await checkOptions(start.device, start.options));
  }

  private constructor(start: RunnerOptions, options: unknown) {
    const { device, fds } = start;
    this.id = start.id;
    this.#start = start;
    const queues = typeof device.queues === 'function' ? device.queues(options, fds) : device.queues;
    this.queueSizes = queues.map(({ size }) => size ?? DEFAULT_QUEUE_SIZE);
    this.queueCount = queues.length;
    this.features = featureMask(device, options, fds) | COMMON_FEATURES;
    const config = device.config?.(options, fds) ?? new Uint8Array(0);
    this.configSize = config.length;
    const problem = this.#problem();
    if (problem !== undefined) throw errors.SDK_ERR_DEVICE({ details: { device: device.name, why: problem } });
    this.#config = new DeviceConfigSpace(config, () => this.link?.notifyConfigChange());
    this.#loop = new DeviceLoop(
      {
        process: (queue) => this.#generation.instance.process(queue),
        complete: (token, result) => this.#generation.instance.complete?.(token, result),
        stopping: (queue) => this.#guarded('stopping', () => this.#generation.instance.stopping?.(queue)),
        failed: (queue, why) => this.#failed(queue, why),
      },
      start.io,
    );
    this.#generation = this.#setUp(device, options, undefined);
  }

  get type(): VirtioDeviceName {
    return this.#start.device.type;
  }

  /** Whether other instances of the device may serve some of its queues. */
  get parallel(): boolean {
    const { definition, options } = this.#generation;
    const { parallel = false } = definition;
    return typeof parallel === 'function' ? parallel(options, this.#start.fds) : parallel;
  }

  /** For `runtime vm inspect`. */
  describe(): Readonly<Record<string, unknown>> {
    const { definition } = this.#generation;
    return {
      name: definition.name,
      type: definition.type,
      io: this.#start.io.kind,
      features: `0x${this.#acked.toString(16)}`,
      reloads: this.#reloads,
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
      queues: this.#loop.queues.map(({ index, size, outstanding, broken, stats }) => ({
        index,
        size,
        outstanding,
        ...(broken === undefined ? {} : { broken }),
        ...stats,
      })),
    };
  }

  /** The requests since the last call; the first one begins to collect them, for about two seconds. */
  trace(): TraceBatch {
    return this.#loop.trace();
  }

  readConfig(offset: number, length: number): Uint8Array {
    return this.#config.read(offset, length);
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (!this.#config.write(offset, bytes)) return;
    this.#guarded('configWritten', () => this.#generation.instance.configWritten?.(offset, bytes.length));
  }

  setFeatures(features: bigint): void {
    this.#acked = features;
  }

  startQueue(start: QueueStart): void {
    const { setup, kick } = start;
    const queue = createVirtqueue(setup);
    this.#starts.set(setup.index, start);
    this.#loop.add(queue, kick);
    const face = this.#loop.get(setup.index) ?? queue;
    this.#guarded('started', () => this.#generation.instance.started?.(face));
  }

  async stopQueue(index: number): Promise<number> {
    const queue = await this.#loop.remove(index);
    this.#starts.delete(index);
    if (queue === undefined) return 0;
    this.#guarded('stopped', () => this.#generation.instance.stopped?.(index));
    return queue.stop();
  }

  setCall(index: number, fd: number): void {
    this.#loop.get(index)?.setCall(fd);
    const start = this.#starts.get(index);
    if (start !== undefined) this.#starts.set(index, { ...start, setup: { ...start.setup, call: fd } });
  }

  reset(): void {
    this.#acked = 0n;
    this.#guarded('reset', () => this.#generation.instance.reset?.());
  }

  saveState(): Uint8Array {
    const { definition, instance } = this.#generation;
    const state = instance.snapshot?.();
    return v8().serialize({ schema: definition.state?.schema ?? 0, config: this.#config.bytes, state });
  }

  loadState(bytes: Uint8Array): void {
    const saved = v8().deserialize(bytes) as { schema?: unknown; config?: unknown; state?: unknown } | undefined;
    const { definition, options } = this.#generation;
    if (typeof saved?.schema !== 'number' || !(saved.config instanceof Uint8Array)) {
      throw errors.SDK_ERR_DEVICE({ details: { device: definition.name, why: 'what was to be restored is no state' } });
    }
    const previous = handover(definition, { schema: saved.schema, state: saved.state });
    this.#config.write(0, saved.config.subarray(0, this.configSize));
    this.#tearDown(this.#generation);
    this.#generation = this.#setUp(definition, options, previous);
    this.#tellStarted();
  }

  /** A request of the runtime's half. */
  async handle(method: string, params: unknown, fds: readonly number[]): Promise<unknown> {
    const { definition, instance } = this.#generation;
    if (instance.handle === undefined) {
      throw errors.SDK_ERR_DEVICE({ details: { device: definition.name, why: `it knows no request "${method}"` } });
    }
    const answer: unknown = await instance.handle(method, params, fds);
    this.#loop.schedule();
    return answer;
  }

  /**
   * Puts other code of the same device in the place of the present one. The driver notices nothing but a pause; when the
   * new code cannot take over, the old one goes on. Queues that the old one has failed are served again, with the requests
   * that it has not answered where there are records of them. @throws SDK_ERR_DEVICE, what its setup threw
   */
  async replace(device: AnyDevice): Promise<void> {
    const old = this.#generation;
    const refuse = (why: string): Error => errors.SDK_ERR_DEVICE({ details: { device: device.name, why } });
    if (device.type !== old.definition.type) throw refuse(`it is of type ${device.type}, not ${old.definition.type}`);
    const options = await checkOptions(device, this.#start.options);
    const { fds } = this.#start;
    const queues = (typeof device.queues === 'function' ? device.queues(options, fds) : device.queues).length;
    if (queues !== this.queueCount) throw refuse(`it has ${queues} queues, and the driver knows ${this.queueCount}`);
    const offered = featureMask(device, options, fds) | COMMON_FEATURES;
    const missing = this.#acked & this.features & ~offered;
    if (missing !== 0n) throw refuse(`it lacks the features 0x${missing.toString(16)}, which the driver uses`);
    const { failed } = this.#loop;
    await this.#quiesce(old, failed.length > 0);
    try {
      const state = structuredClone(old.instance.snapshot?.());
      const previous =
        old.instance.snapshot === undefined
          ? undefined
          : { schema: old.definition.state?.schema ?? 0, state, fromVersion: '' };
      this.#tearDown(old);
      this.#generation = this.#swapIn(device, options, old, previous);
      this.#reloads += 1;
      this.#failure = undefined;
      this.#tellStarted();
      for (const index of failed) await this.#mend(index);
    } finally {
      this.#loop.resume();
    }
  }

  async close(): Promise<void> {
    await this.#quiesce(this.#generation).catch(() => {});
    this.#loop.close();
    this.#tearDown(this.#generation);
    this.#start.io[Symbol.dispose]();
  }

  #swapIn(device: AnyDevice, options: unknown, old: Generation, previous: Handover<unknown> | undefined): Generation {
    try {
      return this.#setUp(device, options, previous === undefined ? undefined : handover(device, previous));
    } catch (e) {
      this.#generation = this.#setUp(old.definition, old.options, previous);
      this.#tellStarted();
      throw e;
    }
  }

  /** Begins a queue anew where it is. */
  async #mend(index: number): Promise<void> {
    const start = this.#starts.get(index);
    const queue = await this.#loop.remove(index);
    if (start === undefined || queue === undefined) return;
    this.startQueue({ ...start, setup: { ...start.setup, base: queue.stop() } });
    this.link?.queueMended(index);
  }

  #setUp(definition: AnyDevice, options: unknown, previous: Handover<unknown> | undefined): Generation {
    const abort = new AbortController();
    const { id, fds, io, log, request } = this.#start;
    const context: DeviceContext<unknown, unknown> = {
      id,
      options,
      fds,
      config: this.#config,
      io,
      stats: this.stats,
      log,
      previous,
      signal: abort.signal,
      features: () => this.#acked,
      queue: (index) => this.#loop.get(index),
      wake: () => this.#loop.schedule(),
      watch: (fd, interest, fn) => {
        const watched = watch(fd, interest, () => {
          fn();
          this.#loop.turn();
        });
        const end = (): void => watched[Symbol.dispose]();
        abort.signal.addEventListener('abort', end, { once: true });
        return {
          [Symbol.dispose]: () => {
            abort.signal.removeEventListener('abort', end);
            end();
          },
        };
      },
      request,
    };
    try {
      return { definition, options, instance: definition.setup(context), abort };
    } catch (e) {
      abort.abort();
      throw e;
    }
  }

  #tearDown({ instance, abort }: Generation): void {
    this.#guarded('dispose', () => instance.dispose?.());
    abort.abort();
  }

  /** @param hasFailed it does what it still can */
  async #quiesce({ definition, instance }: Generation, hasFailed = false): Promise<void> {
    this.#loop.pause();
    const quiet = (async () => {
      if (hasFailed) await this.#settleFailed(instance);
      else await instance.quiesce?.();
      await this.#loop.drained();
    })();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const why = `it has not finished its requests within ${QUIESCE_MS / 1000} s`;
      timer = setTimeout(
        () => reject(errors.SDK_ERR_DEVICE({ details: { device: definition.name, why } })),
        QUIESCE_MS,
      );
    });
    try {
      await Promise.race([quiet, late]);
    } catch (e) {
      this.#loop.resume();
      throw e;
    } finally {
      clearTimeout(timer);
    }
  }

  async #settleFailed(instance: DeviceInstance<unknown>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FAILED_QUIESCE_MS);
    });
    await Promise.race([(async () => instance.quiesce?.())().catch(() => {}), late]);
    clearTimeout(timer);
  }

  #tellStarted(): void {
    for (const queue of this.#loop.queues) {
      this.#guarded('started', () => this.#generation.instance.started?.(queue));
    }
  }

  #failed(queue: Virtqueue, why: unknown): void {
    const text = why instanceof Error ? (why.stack ?? why.message) : String(why);
    this.#failure = `queue ${queue.index}: ${text.split('\n', 1)[0]}`;
    this.#start.log.warn(`queue ${queue.index} of ${this.id} serves no more: ${text}`);
    this.link?.queueBroken(queue.index);
  }

  /** A callback of the device that throws is its own problem. */
  #guarded(what: string, call: () => void): void {
    try {
      call();
    } catch (e) {
      const text = isRuntimeError(e) ? e.message : e instanceof Error ? (e.stack ?? e.message) : String(e);
      this.#start.log.warn(`${what} of ${this.id} threw: ${text}`);
    }
  }

  #problem(): string | undefined {
    if (this.queueCount < 1 || this.queueCount > MAX_QUEUES) return `it must have 1 to ${MAX_QUEUES} queues`;
    const odd = this.queueSizes.find((size) => size < 1 || size > MAX_QUEUE_SIZE || (size & (size - 1)) !== 0);
    if (odd !== undefined) return `a queue cannot have size ${odd}: a power of two up to ${MAX_QUEUE_SIZE} can`;
    if (this.configSize > MAX_CONFIG_BYTES) return `its configuration space is over ${MAX_CONFIG_BYTES} bytes`;
    return undefined;
  }
}

function handover(device: AnyDevice, { schema, state }: { schema: number; state: unknown }): Handover<unknown> {
  const spec = device.state;
  const current = spec?.schema ?? 0;
  if (schema === current || spec?.migrate === undefined) {
    if (schema !== current) {
      const why = `it takes state of schema ${current}, not ${schema}`;
      throw errors.SDK_ERR_DEVICE({ details: { device: device.name, why } });
    }
    return { schema, state, fromVersion: '' };
  }
  return { schema: current, state: spec.migrate(state, schema), fromVersion: '' };
}

async function checkOptions(device: AnyDevice, options: unknown): Promise<unknown> {
  const result: SchemaResult<unknown> = await device.options['~standard'].validate(options);
  if (result.issues === undefined) return result.value;
  const why = result.issues.map(({ message, path = [] }) => [...path.map(String), message].join(': ')).join('; ');
  throw errors.SDK_ERR_DEVICE({ details: { device: device.name, why: `its options are wrong: ${why}` } });
}

/** Loaded when it is needed: it brings Node's streams along, 4 ms. */
function v8(): typeof import('node:v8') {
  return process.getBuiltinModule('node:v8');
}
