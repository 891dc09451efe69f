// All children of one runtime.

import { join } from 'node:path';
import type { Clock } from '../clock.ts';
import { errors } from '../core-errors.ts';
import type { NativeHost } from '../host.ts';
import type { Logger } from '../logging.ts';
import type { ProcessReport } from '../runtime-types.ts';
import type { Scope } from '../scope.ts';
import type { Tracer } from '../tracing.ts';
import { Child } from './child.ts';
import { FamilySweeper } from './descendants.ts';
import { DescriptorSeal } from './descriptor-seal.ts';
import { logFileName } from './log-file.ts';
import { checkRequest } from './plan.ts';
import { RecordStore } from './records.ts';
import { recoverChildren } from './recovery.ts';
import type { ManagedProcess, ProcessSupervisor, SpawnPlan, SpawnRequest } from './types.ts';
import type { ProcessWorld } from './world.ts';
import { DeathSignal } from './wrappers.ts';

export interface ProcessTableOptions {
  /** Id of the runtime; part of the variable by which descendants are found. */
  readonly instance: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly tracer: Tracer;
  readonly emit: ProcessWorld['emit'];
  readonly callBeforeSpawn: (plan: SpawnPlan) => Promise<SpawnPlan>;
  readonly native?: NativeHost;
  /** Without one there are no detached children, and nothing is found again after a crash. */
  readonly stateDirectory?: string;
  /** Children at a time; default 512. */
  readonly maxChildren?: number;
  /** From [0, 1), for the jitter of restarts. */
  readonly random?: () => number;
}

const MAX_CHILDREN = 512;

interface Entry {
  readonly child: Child;
  /** Of the plugin instance that holds it, in its scope: ends the child when the instance is unloaded. */
  hold: Disposable | undefined;
  parked: boolean;
}

export class ProcessTable {
  readonly #world: ProcessWorld;
  readonly #stateDirectory: string | undefined;
  readonly #maxChildren: number;
  readonly #entries: Map<string, Entry> = new Map();
  #closing = false;

  constructor(options: ProcessTableOptions) {
    const { instance, log, clock, tracer, emit, callBeforeSpawn, native, stateDirectory } = options;
    this.#stateDirectory = stateDirectory;
    this.#maxChildren = options.maxChildren ?? MAX_CHILDREN;
    this.#world = {
      instance,
      log,
      clock,
      tracer,
      emit,
      callBeforeSpawn,
      native,
      random: options.random ?? Math.random,
      records: new RecordStore(stateDirectory, log),
      sweeper: new FamilySweeper(native),
      deathSignal: new DeathSignal(log),
      descriptorSeal: new DescriptorSeal(log, native),
      toldUnjailed: new Set(),
      logFile: (plugin, key) => join(stateDirectory ?? '', 'logs', logFileName(plugin, key)),
    };
  }

  /** What the plugin `owner` sees. Its children end with `scope`, unless they are detached or it is parked. */
  supervisor(owner: string, scope: Scope): ProcessSupervisor {
    return {
      spawn: (request) => this.#spawn(owner, scope, request),
      list: () => this.#of(owner).map(({ child }) => child.handle),
    };
  }

  /** Before the scope of `owner` closes for a reload: its children live on without it. */
  park(owner: string): void {
    for (const entry of this.#of(owner)) {
      entry.parked ||= entry.hold !== undefined;
      entry.child.park();
      this.#letGo(entry);
    }
  }

  /** After a reload: stops what the new instance did not claim. Detached children stay. Returns the keys. */
  async sweep(owner: string): Promise<readonly string[]> {
    const left = this.#of(owner).filter(({ parked }) => parked);
    for (const entry of left) {
      entry.parked = false;
      if (entry.child.detached) entry.child.abandon();
    }
    const ended = left.filter(({ child }) => !child.detached);
    await this.#stopEach(ended.map(({ child }) => child));
    return ended.map(({ child }) => child.key);
  }

  /** Once, before any plugin is set up: ends the orphans of dead runtimes and takes over what was to outlive them. */
  async recover(): Promise<void> {
    for (const child of await recoverChildren(this.#world)) {
      this.#add(child);
      child.begin();
      const { plugin, key, pid } = child;
      this.#world.log.info({ plugin, process: key, pid }, `${child.name} was found again`);
      if (pid !== undefined) this.#world.emit('process:adopted', { plugin, key, pid });
    }
  }

  /** Stops all but what is detached. @throws AggregateError of CORE_ERR_PROCESS_STUCK */
  async stopAll(): Promise<void> {
    this.#closing = true;
    const children = [...this.#entries.values()].map(({ child }) => child);
    const staying = children.filter((child) => child.detached && child.state === 'ready');
    await this.#stopEach(children.filter((child) => !staying.includes(child)));
    await Promise.all(staying.map((child) => child.release()));
  }

  report(): readonly ProcessReport[] {
    return [...this.#entries.values()].map(({ child }) => child.report());
  }

  /** What keeps the runtime from ending, in words. */
  pending(): readonly string[] {
    return [...this.#entries.values()]
      .filter(({ child }) => child.live && !(child.detached && child.state === 'ready'))
      .map(
        ({ child }) => `process ${child.name} (${child.state}${child.pid === undefined ? '' : `, pid ${child.pid}`})`,
      );
  }

  #of(owner: string): Entry[] {
    return [...this.#entries.values()].filter(({ child }) => child.plugin === owner);
  }

  async #spawn(owner: string, scope: Scope, request: SpawnRequest): Promise<ManagedProcess> {
    checkRequest(request, owner, this.#stateDirectory);
    const id = idOf(owner, request.key);
    for (let entry = this.#entries.get(id); entry !== undefined; entry = this.#entries.get(id)) {
      const { child } = entry;
      if (child.live && child.state !== 'stopping') {
        this.#hold(entry, scope);
        child.claim(request);
        await child.ready();
        return child.handle;
      }
      // The one before is on its way out, or lies in a crash loop.
      await child.stop();
      this.#remove(entry);
    }
    const name = `${owner}/${request.key}`;
    if (this.#closing) throw errors.CORE_ERR_CLOSING({ plugin: owner, details: { what: `process ${name}` } });
    if (this.#entries.size >= this.#maxChildren) {
      throw errors.CORE_ERR_PROCESS_LIMIT({ plugin: owner, details: { name, count: this.#entries.size } });
    }
    const child = new Child(this.#world, owner, request);
    child.claim(request);
    const entry = this.#add(child);
    try {
      this.#hold(entry, scope);
    } catch (error) {
      this.#remove(entry);
      throw error;
    }
    const ready = child.ready();
    child.begin();
    await ready;
    return child.handle;
  }

  #add(child: Child): Entry {
    const entry: Entry = { child, hold: undefined, parked: false };
    this.#entries.set(idOf(child.plugin, child.key), entry);
    child.onFinished = () => {
      // A crash loop stays visible until somebody acts on it.
      if (child.state === 'exited') this.#remove(entry);
      else this.#letGo(entry);
    };
    return entry;
  }

  #remove(entry: Entry): void {
    const id = idOf(entry.child.plugin, entry.child.key);
    if (this.#entries.get(id) === entry) this.#entries.delete(id);
    this.#letGo(entry);
  }

  /** @throws CORE_ERR_SCOPE_CLOSED */
  #hold(entry: Entry, scope: Scope): void {
    const { child } = entry;
    let hold: Disposable | undefined;
    hold = scope.defer(`process ${child.key}`, async () => {
      if (hold === undefined || entry.hold !== hold) return;
      entry.hold = undefined;
      if (child.detached && child.state === 'ready') child.abandon();
      else await child.stop();
    });
    this.#letGo(entry);
    entry.hold = hold;
    entry.parked = false;
  }

  #letGo(entry: Entry): void {
    const { hold } = entry;
    entry.hold = undefined;
    hold?.[Symbol.dispose]();
  }

  async #stopEach(children: readonly Child[]): Promise<void> {
    const results = await Promise.allSettled(children.map((child) => child.stop()));
    const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    if (failures.length > 0) throw new AggregateError(failures, `${failures.length} process(es) could not be ended`);
  }
}

function idOf(plugin: string, key: string): string {
  return `${plugin}\0${key}`;
}
