// Hot reload. New code is loaded and checked before the old is touched; from the moment the old one is quiet there is
// always a way back to it.

import { checkConfig, isProblem } from './config-check.ts';
import { errors } from './core-errors.ts';
import type { Graph } from './graph.ts';
import { receiveHandover } from './handover.ts';
import { CORE_OWNER, type Kernel } from './kernel.ts';
import type { AnyPlugin, Handover } from './plugin.ts';
import type { PluginRecord } from './plugin-record.ts';
import type { ReloadReport } from './runtime-types.ts';
import type { Serial } from './serial.ts';

declare module './events.ts' {
  interface EventMap {
    /** A reload has ended, whatever its outcome. */
    'core:reloaded': ReloadReport;
  }
}

/** What the reloader needs of the runtime. */
export interface ReloadPort {
  readonly kernel: Kernel;
  /** Changes of the set of plugins; reloads are among them. */
  readonly changes: Serial;
  record(name: string): PluginRecord;
  /** Loads the code again. */
  load(record: PluginRecord): Promise<AnyPlugin>;
  /** The graph with `next` in place of the plugin of that name; throws CORE_ERR_GRAPH. */
  check(next: AnyPlugin): Graph;
  /** Makes the graph the current one and returns the one before. */
  adopt(graph: Graph): Graph;
  /** The plugin and the consumers of its `restart` services, theirs included; in the order of setup. */
  affected(name: string): readonly PluginRecord[];
}

interface Swap {
  readonly record: PluginRecord;
  readonly old: { readonly definition: AnyPlugin; readonly config: unknown };
  readonly next: { readonly definition: AnyPlugin; readonly config: unknown };
  /** What the old instance gave away; the way back starts from it. */
  handover: Handover<unknown> | undefined;
  /** The same, as the new definition takes it. */
  received: Handover<unknown> | undefined;
}

export class Reloader {
  readonly #port: ReloadPort;
  /** Asked for and not begun. */
  readonly #queued: Map<string, { next: AnyPlugin | undefined; readonly report: Promise<ReloadReport> }> = new Map();

  constructor(port: ReloadPort) {
    this.#port = port;
  }

  reload(name: string, next: AnyPlugin | undefined): Promise<ReloadReport> {
    const queued = this.#queued.get(name);
    if (queued !== undefined) {
      queued.next = next;
      return queued.report;
    }
    const report = this.#port.changes.run(() => {
      const latest = this.#queued.get(name)?.next;
      this.#queued.delete(name);
      return this.#run(name, latest);
    });
    this.#queued.set(name, { next, report });
    return report;
  }

  async #run(name: string, given: AnyPlugin | undefined): Promise<ReloadReport> {
    const { kernel } = this.#port;
    const startedAt = kernel.clock.now();
    const record = this.#port.record(name);
    const result = await kernel.tracer.span('plugin', `${name}.reload`, CORE_OWNER, () => this.#attempt(record, given));
    const report: ReloadReport = { plugin: name, ...result, ms: kernel.clock.now() - startedAt };
    const fields = {
      plugin: name,
      outcome: report.outcome,
      ms: report.ms,
      ...('error' in report ? { err: report.error } : {}),
    };
    if (report.outcome === 'swapped') kernel.log.info(fields, `${name} reloaded`);
    else kernel.log.error(fields, `${name} not reloaded: ${report.outcome}`);
    kernel.events.emit(CORE_OWNER, 'core:reloaded', report);
    return report;
  }

  async #attempt(record: PluginRecord, given: AnyPlugin | undefined): Promise<Omit<ReloadReport, 'plugin' | 'ms'>> {
    let prepared: { readonly graph: Graph; readonly swaps: readonly Swap[] };
    try {
      prepared = await this.#prepare(record, given);
    } catch (error) {
      return { outcome: 'kept-old', restarted: [], error };
    }
    const { graph, swaps } = prepared;
    const restarted = swaps.map((swap) => swap.record.name).filter((name) => name !== record.name);
    try {
      await this.#quiet(swaps);
    } catch (error) {
      return { outcome: 'kept-old', restarted: [], error };
    }
    return { restarted, ...(await this.#exchange(swaps, graph)) };
  }

  /** Everything that can go wrong without touching anything. */
  async #prepare(record: PluginRecord, given: AnyPlugin | undefined): Promise<{ graph: Graph; swaps: Swap[] }> {
    if (record.state !== 'ready' && record.state !== 'failed') {
      const details = { what: 'a reload', who: record.name, state: record.state, legal: 'ready, failed' };
      throw errors.CORE_ERR_STATE({ plugin: record.name, details });
    }
    const next = given ?? (await this.#port.load(record));
    if (next.name !== record.name) {
      throw errors.CORE_ERR_RELOAD_NAME({ plugin: record.name, details: { plugin: record.name, name: next.name } });
    }
    const checked = await checkConfig(next, record.settings.config);
    if (isProblem(checked)) throw checked;
    const graph = this.#port.check(next);
    const swaps = this.#port.affected(record.name).map((affected): Swap => {
      const old = { definition: affected.definition, config: affected.config };
      const isSubject = affected === record;
      return {
        record: affected,
        old,
        next: isSubject ? { definition: next, config: checked.config } : old,
        handover: undefined,
        received: undefined,
      };
    });
    return { graph, swaps };
  }

  /** Dependents first. When it throws, everything goes on as before. */
  async #quiet(swaps: readonly Swap[]): Promise<void> {
    const quiet: Swap[] = [];
    try {
      for (const swap of [...swaps].reverse()) {
        if (swap.record.state === 'failed') continue;
        quiet.push(swap);
        await swap.record.quiesce();
        // An event that the snapshot does not know of must reach the next instance.
        this.#port.kernel.events.park(swap.record.name);
        swap.handover = await swap.record.snapshot();
        if (swap.handover !== undefined) swap.received = await receiveHandover(swap.next.definition, swap.handover);
      }
    } catch (error) {
      for (const { record } of quiet.reverse()) {
        await record.resume();
        this.#port.kernel.events.unpark(record.name);
      }
      throw error;
    }
  }

  async #exchange(swaps: readonly Swap[], graph: Graph): Promise<Pick<ReloadReport, 'outcome' | 'error'>> {
    for (const { record } of [...swaps].reverse()) {
      this.#park(record.name);
      if (record.state !== 'failed') await record.dispose('reload');
    }
    let outcome: Pick<ReloadReport, 'outcome' | 'error'>;
    for (const { record, next } of swaps) Object.assign(record, next);
    const before = this.#port.adopt(graph);
    try {
      await this.#setUp(swaps, 'received');
      for (const { record } of swaps) record.reloads += 1;
      outcome = { outcome: 'swapped' };
    } catch (error) {
      outcome = { outcome: await this.#rollBack(swaps, before), error };
    }
    for (const { record } of swaps) await this.#settle(record);
    return outcome;
  }

  async #setUp(swaps: readonly Swap[], state: 'handover' | 'received'): Promise<void> {
    const together = new Set(swaps.map(({ record }) => record.name));
    for (const { record } of swaps) record.gate.admit(together);
    for (const swap of swaps) {
      const { record } = swap;
      try {
        await record.setup(swap[state]);
        await record.ready();
      } catch (error) {
        this.#park(record.name);
        await record.fail(error);
        throw error;
      }
    }
  }

  /** The old code again, from the same snapshot. */
  async #rollBack(swaps: readonly Swap[], graph: Graph): Promise<'rolled-back' | 'failed'> {
    for (const { record } of [...swaps].reverse()) {
      this.#park(record.name);
      if (record.serving) await record.dispose('reload');
    }
    for (const { record, old } of swaps) Object.assign(record, old);
    this.#port.adopt(graph);
    try {
      await this.#setUp(swaps, 'handover');
      return 'rolled-back';
    } catch (err) {
      this.#port.kernel.log.error({ err }, 'the way back to the old code failed too');
      return 'failed';
    }
  }

  #park(name: string): void {
    const { events, hooks, resources, keepers, processes } = this.#port.kernel;
    events.park(name);
    hooks.park(name);
    resources.park(name);
    keepers.park(name);
    processes.park(name);
  }

  /** Lets go of what nobody claimed, and lets the callers in. */
  async #settle(record: PluginRecord): Promise<void> {
    const { events, hooks, resources, keepers, processes, log } = this.#port.kernel;
    const { name } = record;
    const unclaimed = [...resources.sweep(name), ...(await keepers.sweep(name))];
    await processes.sweep(name);
    if (unclaimed.length > 0)
      log.info({ plugin: name, unclaimed }, `${name} did not take over ${unclaimed.join(', ')}`);
    events.unpark(name);
    if (record.state === 'ready') record.gate.openUp();
    else record.abandon();
    hooks.unpark(name);
  }
}
