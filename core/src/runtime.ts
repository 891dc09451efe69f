// The microkernel: it starts plugins in the order of their graph, stops them in reverse, and reloads them in between.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { CheckTable } from './checks.ts';
import { systemClock, withDeadline } from './clock.ts';
import { CommandHub } from './commands.ts';
import { checkConfig, isProblem } from './config-check.ts';
import { errors } from './core-errors.ts';
import { isRuntimeError, type RuntimeError } from './errors.ts';
import { EventHub } from './events.ts';
import { Gate } from './gate.ts';
import { checkGraph, type Graph, requirementsOf } from './graph.ts';
import { HookTable } from './hooks.ts';
import { inspectRuntime } from './inspect.ts';
import { KeeperTable } from './keepers.ts';
import { CORE_OWNER, type Kernel, RUNTIME_OWNER } from './kernel.ts';
import type { PluginState } from './lifecycle.ts';
import type { FoundPlugin } from './loader/types.ts';
import { createLogger } from './logging.ts';
import { createMemoryStateStore } from './memory-state-store.ts';
import { didYouMean } from './nearest.ts';
import { type AnyPlugin, PLUGIN_TYPE } from './plugin.ts';
import { PluginRecord } from './plugin-record.ts';
import { ProcessTable } from './processes/process-table.ts';
import { beforeSpawn } from './processes/types.ts';
import { Reloader } from './reload.ts';
import { ResourceTable } from './resources.ts';
import {
  type CommandTable,
  DEFAULT_TIMEOUTS,
  type FailurePolicy,
  type PluginSettings,
  type ReloadReport,
  type Runtime,
  type RuntimeOptions,
  type RuntimeReport,
  type RuntimeState,
} from './runtime-types.ts';
import { Scope } from './scope.ts';
import { Serial } from './serial.ts';
import { ServiceTable } from './services.ts';
import { createStateStore } from './state-store.ts';
import type { ServiceToken } from './tokens.ts';
import { Tracer } from './tracing.ts';
import { CORE_VERSION } from './version.ts';

declare module './events.ts' {
  interface EventMap {
    /** The runtime as a whole has moved to another state. */
    'core:runtime-state': { readonly from: RuntimeState; readonly to: RuntimeState };
  }
}

/** A phase ends this much before the start as a whole, so that the inner one is blamed. */
const INNER_MARGIN_MS = 5;

/** States that a plugin leaves by itself. */
const MOVING: ReadonlySet<PluginState> = new Set(['loading', 'setup', 'quiescing', 'disposing']);

interface Entry {
  readonly source: AnyPlugin | FoundPlugin;
  readonly settings: PluginSettings;
}

export function createRuntime(options: RuntimeOptions = {}): Runtime {
  return new RuntimeImplementation(options);
}

function isDefinition(source: AnyPlugin | FoundPlugin): source is AnyPlugin {
  return '$$type' in source && source.$$type === PLUGIN_TYPE;
}

function nameOf(source: AnyPlugin | FoundPlugin): string {
  return isDefinition(source) ? source.name : source.manifest.plugin;
}

function providedBy(source: AnyPlugin | FoundPlugin): readonly string[] {
  return isDefinition(source) ? (source.provides ?? []).map(({ id }) => id) : Object.keys(source.manifest.provides);
}

function createKernel(options: RuntimeOptions, scope: Scope): Kernel {
  const instance = randomBytes(6).toString('hex');
  const log = options.log ?? createLogger();
  const clock = options.clock ?? systemClock;
  const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  const tracer = new Tracer(instance);
  const { eventHistory: history, listenerLimit, stateDirectory, native } = options;
  const events = new EventHub({
    tracer,
    clock,
    log,
    ...(history === undefined ? {} : { history }),
    ...(listenerLimit === undefined ? {} : { listenerLimit }),
  });
  const hooks = new HookTable({ tracer, clock, tapMs: timeouts.tapMs, swapMs: timeouts.swapMs });
  const gate = new Gate(CORE_OWNER, clock);
  const processes = new ProcessTable({
    instance,
    log,
    clock,
    tracer,
    emit: (topic, data) => events.emit(CORE_OWNER, topic, data),
    // On behalf of the plugin, so that its own tap does not wait for itself while it is being set up.
    callBeforeSpawn: (plan) => hooks.view(new Scope(plan.plugin), gate).call(beforeSpawn, plan),
    ...(native === undefined ? {} : { native }),
    ...(stateDirectory === undefined ? {} : { stateDirectory }),
  });
  gate.openUp();
  scope.defer('processes', () => processes.stopAll());
  return {
    instance,
    log,
    clock,
    timeouts,
    tracer,
    events,
    hooks,
    processes,
    services: new ServiceTable({ tracer, swapMs: timeouts.swapMs }),
    resources: new ResourceTable({ tracer, ...(options.pools === undefined ? {} : { pools: options.pools }) }),
    keepers: new KeeperTable(log),
    commands: new CommandHub(),
    checks: new CheckTable(clock),
    stateStore: (plugin) =>
      stateDirectory === undefined
        ? createMemoryStateStore()
        : createStateStore(join(stateDirectory, 'plugins', plugin), log),
  };
}

class RuntimeImplementation implements Runtime {
  readonly instance: string;
  readonly events: Runtime['events'];
  readonly hooks: Runtime['hooks'];
  readonly tracer: Tracer;
  readonly log: Runtime['log'];
  readonly commands: CommandTable;
  readonly #options: RuntimeOptions;
  readonly #kernel: Kernel;
  /** What the runtime's owner registers. */
  readonly #scope: Scope = new Scope(RUNTIME_OWNER);
  readonly #gate: Gate;
  readonly #entries: Entry[] = [];
  readonly #records: Map<string, PluginRecord> = new Map();
  readonly #reloader: Reloader;
  readonly #changes: Serial = new Serial();
  #graph: Graph = checkGraph([], CORE_VERSION);
  #state: RuntimeState = 'new';
  #startMs: number | undefined;
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: RuntimeOptions) {
    this.#options = options;
    this.#kernel = createKernel(options, this.#scope);
    const { instance, tracer, log, clock } = this.#kernel;
    this.instance = instance;
    this.tracer = tracer;
    this.log = log;
    this.#gate = new Gate(RUNTIME_OWNER, clock);
    this.#gate.openUp();
    this.events = this.#kernel.events.view(this.#scope);
    this.hooks = this.#kernel.hooks.view(this.#scope, this.#gate);
    this.commands = this.#createCommandTable();
    this.#reloader = new Reloader({
      kernel: this.#kernel,
      changes: this.#changes,
      record: (name) => this.#record(name),
      load: (record) => this.#loadAgain(record),
      check: (next) => this.#checkWith(next),
      adopt: (graph) => this.#adopt(graph),
      affected: (name) => this.#affected(name),
    });
  }

  get state(): RuntimeState {
    return this.#state;
  }

  use(plugin: unknown, settings: PluginSettings = {}): this {
    this.#expect('use()', ['new']);
    this.#entries.push({ source: plugin as AnyPlugin | FoundPlugin, settings });
    return this;
  }

  start(): Promise<void> {
    this.#starting ??= this.#start();
    return this.#starting;
  }

  stop(reason: string = 'stop'): Promise<void> {
    this.#stopping ??= this.#stop(reason);
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  add(source: AnyPlugin | FoundPlugin, settings: PluginSettings = {}): Promise<void> {
    return this.#changes.run(() => this.#add(source, settings));
  }

  async #add(source: AnyPlugin | FoundPlugin, settings: PluginSettings): Promise<void> {
    this.#expect('add()', ['running']);
    const name = nameOf(source);
    if (this.#records.has(name)) throw errors.CORE_ERR_PLUGIN_DUPLICATE({ details: { plugin: name } });
    const record = await this.#createRecord(source, settings);
    const graph = this.#checkWith(record.definition);
    this.#records.set(name, record);
    const before = this.#adopt(graph);
    try {
      await record.setup(undefined);
      record.gate.openUp();
      await record.ready();
    } catch (error) {
      await record.fail(error);
      record.abandon();
      this.#records.delete(name);
      this.#adopt(before);
      throw error;
    }
  }

  remove(name: string): Promise<void> {
    return this.#changes.run(() => this.#remove(name));
  }

  async #remove(name: string): Promise<void> {
    this.#expect('remove()', ['running']);
    const record = this.#record(name);
    const dependents = this.#dependents(name);
    if (dependents.length > 0) {
      const details = { plugin: name, dependents: dependents.join(', ') };
      throw errors.CORE_ERR_PLUGIN_REQUIRED({ plugin: name, details });
    }
    this.#records.delete(name);
    let graph: Graph;
    try {
      graph = this.#checkWith();
    } catch (error) {
      this.#records.set(name, record);
      throw error;
    }
    await this.#unload(record);
    this.#adopt(graph);
  }

  reload(name: string, next?: AnyPlugin): Promise<ReloadReport> {
    this.#expect('reload()', ['running']);
    // Refuses an unknown name at once.
    this.#record(name);
    return this.#reloader.reload(name, next);
  }

  pluginState(name: string): PluginRecord['state'] {
    return this.#record(name).state;
  }

  get<T extends object>(token: ServiceToken<T>): T {
    const handle = this.#kernel.services.handle(token, RUNTIME_OWNER);
    if (handle === undefined) throw errors.CORE_ERR_SERVICE_MISSING({ details: { service: token.id } });
    return handle;
  }

  doctor(): ReturnType<Runtime['doctor']> {
    return this.#kernel.checks.run();
  }

  inspect(): RuntimeReport {
    return inspectRuntime({
      kernel: this.#kernel,
      state: this.#state,
      startMs: this.#startMs,
      graph: this.#graph,
      records: [...this.#records.values()],
    });
  }

  pending(): readonly string[] {
    // A plugin at rest keeps nothing from stopping, whatever it holds.
    const unfinished = [...this.#records.values()].filter(({ state, busy }) => MOVING.has(state) || busy.length > 0);
    const plugins = unfinished.map(({ name, state, busy, holds }) => {
      return `${name} (${state}): ${[...busy, ...(MOVING.has(state) ? holds : [])].join(', ') || 'nothing held'}`;
    });
    return [...plugins, ...this.#kernel.processes.pending()];
  }

  // ---- start ----------------------------------------------------------------------------------------------------------

  async #start(): Promise<void> {
    this.#expect('start()', ['new']);
    this.#move('starting');
    const { clock, timeouts } = this.#kernel;
    const startedAt = clock.now();
    const left = (): number => startedAt + timeouts.startMs - INNER_MARGIN_MS - clock.now();
    try {
      await this.#kernel.processes.recover();
      await this.#loadAll();
      this.#adopt(this.#checkAll());
      await this.#setUpAll(left);
    } catch (error) {
      await this.#unloadAll();
      await this.#scope.close();
      this.#move('failed');
      throw error;
    }
    this.#startMs = clock.now() - startedAt;
    this.#move('running');
  }

  async #loadAll(): Promise<void> {
    const loaded = await Promise.all(
      this.#entries.map(async ({ source, settings }) => {
        try {
          return await this.#createRecord(source, settings);
        } catch (error) {
          return { problem: error, settings, name: nameOf(source), provides: providedBy(source) };
        }
      }),
    );
    const problems: unknown[] = [];
    const names = new Set<string>();
    const lost = new Set<string>();
    for (const result of loaded) {
      if ('problem' in result) {
        for (const service of result.provides) lost.add(service);
        if (this.#policy(result.settings) === 'abort') problems.push(result.problem);
        else this.log.error({ plugin: result.name, err: result.problem }, `${result.name} was left out`);
      } else if (names.has(result.name)) {
        problems.push(errors.CORE_ERR_PLUGIN_DUPLICATE({ plugin: result.name, details: { plugin: result.name } }));
      } else {
        names.add(result.name);
        this.#records.set(result.name, result);
      }
    }
    if (problems.length === 0) return;
    // Reported together with those of the graph, less those that only follow from them.
    const follows = (problem: RuntimeError): boolean =>
      problem.code === 'CORE_ERR_GRAPH_MISSING' && lost.has(String(problem.details.service));
    throw graphError([...problems, ...this.#checkNodes().problems.filter((problem) => !follows(problem))]);
  }

  /** Leaves out plugins that may be left out, until what remains fits together. */
  #checkAll(): Graph {
    for (;;) {
      const graph = this.#checkNodes();
      if (graph.problems.length === 0) return graph;
      const leftOut = graph.problems.map((problem) => this.#records.get(problem.plugin ?? ''));
      const mayBe = leftOut.filter((r) => r !== undefined && this.#policy(r.settings) === 'continue');
      if (mayBe.length < graph.problems.length) throw graphError(graph.problems);
      for (const [i, record] of leftOut.entries()) {
        if (record === undefined || !this.#records.delete(record.name)) continue;
        this.log.error({ plugin: record.name, err: graph.problems[i] }, `${record.name} was left out`);
      }
    }
  }

  async #setUpAll(left: () => number): Promise<void> {
    for (const wave of this.#graph.waves) {
      this.#checkNotStopping();
      const records = wave.map((name) => this.#record(name));
      await this.#forEach(records, async (record) => {
        this.#checkDependencies(record);
        await record.setup(undefined, left());
        record.gate.openUp();
      });
    }
    for (const wave of this.#graph.waves) {
      this.#checkNotStopping();
      const records = wave.map((name) => this.#record(name)).filter(({ state }) => state === 'waiting');
      await this.#forEach(records, (record) => record.ready(left()));
    }
  }

  /** Lets all of a wave end before it throws, so that nothing is set up behind the back of the unloading. */
  async #forEach(records: readonly PluginRecord[], phase: (record: PluginRecord) => Promise<void>): Promise<void> {
    const fatal: unknown[] = [];
    await Promise.all(
      records.map(async (record) => {
        try {
          await phase(record);
        } catch (error) {
          this.log.error({ plugin: record.name, err: error }, `${record.name} failed to start`);
          await record.fail(error);
          record.abandon();
          if (this.#policy(record.settings) === 'abort') fatal.push(error);
        }
      }),
    );
    if (fatal.length === 1) throw fatal[0];
    if (fatal.length > 1) throw new AggregateError(fatal, `${fatal.length} plugins failed to start`);
  }

  #checkDependencies(record: PluginRecord): void {
    for (const { token, optional } of requirementsOf(record.definition)) {
      const provider = this.#graph.providers.get(token.id);
      if (optional || provider === undefined || this.#records.get(provider)?.state !== 'failed') continue;
      const details = { plugin: record.name, dependency: provider };
      throw errors.CORE_ERR_DEPENDENCY_FAILED({ plugin: record.name, details });
    }
  }

  #checkNotStopping(): void {
    if (this.#stopping !== undefined) throw errors.CORE_ERR_CLOSING({ details: { what: 'the start' } });
  }

  // ---- stop -----------------------------------------------------------------------------------------------------------

  async #stop(reason: string): Promise<void> {
    if (this.#starting !== undefined) await this.#starting.catch(() => {});
    if (this.#state === 'failed' || this.#state === 'stopped') return;
    await this.#changes.idle();
    this.#move('stopping');
    this.log.debug({ reason }, 'stopping');
    await this.#unloadAll();
    await this.#scope.close().catch((err: unknown) => this.log.error({ err }, 'cleanup of the runtime failed'));
    this.#move('stopped');
  }

  async #unloadAll(): Promise<void> {
    for (const wave of [...this.#graph.waves].reverse()) {
      const records = wave.map((name) => this.#records.get(name)).filter((record) => record !== undefined);
      await Promise.all(records.map((record) => this.#unload(record)));
    }
  }

  /** Never throws. */
  async #unload(record: PluginRecord): Promise<void> {
    if (record.state === 'ready') {
      await record.quiesce().catch((err: unknown) => {
        this.log.error({ plugin: record.name, err }, `${record.name} did not become quiet; it is stopped all the same`);
      });
    }
    record.abandon();
    const isUp = record.state === 'quiescing' || record.state === 'paused' || record.state === 'waiting';
    if (isUp) await record.dispose('stop');
  }

  // ---- plugins and their graph ----------------------------------------------------------------------------------------

  async #createRecord(source: AnyPlugin | FoundPlugin, settings: PluginSettings): Promise<PluginRecord> {
    const found = isDefinition(source) ? undefined : source;
    if (found === undefined && settings.isolation === 'process') {
      throw errors.CORE_ERR_HOST_SOURCE({ plugin: nameOf(source), details: { plugin: nameOf(source) } });
    }
    const definition = isDefinition(source) ? source : await this.#load(source, settings);
    const checked = await checkConfig(definition, settings.config);
    if (isProblem(checked)) throw checked;
    return new PluginRecord(this.#kernel, definition, settings, found, checked.config);
  }

  async #load(found: FoundPlugin, settings: PluginSettings): Promise<AnyPlugin> {
    if (settings.isolation === 'process') {
      const { isolatePlugin } = await import('./isolation/isolate.ts');
      return isolatePlugin(found, { limits: settings.limits ?? {}, log: this.log, clock: this.#kernel.clock });
    }
    const { loader } = this.#options;
    if (loader === undefined) {
      const details = { plugin: found.manifest.plugin, entry: found.entry };
      throw errors.CORE_ERR_PLUGIN_LOAD({
        plugin: found.manifest.plugin,
        details,
        cause: new Error('no loader given'),
      });
    }
    return (await loader.load(found)).definition;
  }

  #loadAgain(record: PluginRecord): Promise<AnyPlugin> {
    if (record.found !== undefined) return this.#load(record.found, record.settings);
    throw errors.CORE_ERR_RELOAD_NO_SOURCE({ plugin: record.name, details: { plugin: record.name } });
  }

  #checkNodes(next?: AnyPlugin): Graph {
    const nodes = [...this.#records.values()]
      .filter(({ name }) => name !== next?.name)
      .map(({ definition, found }) => ({ definition, trusted: found?.builtIn ?? true }));
    if (next !== undefined) {
      nodes.push({ definition: next, trusted: this.#records.get(next.name)?.found?.builtIn ?? true });
    }
    return checkGraph(nodes, CORE_VERSION, this.#options.winners);
  }

  #checkWith(next?: AnyPlugin): Graph {
    const graph = this.#checkNodes(next);
    if (graph.problems.length > 0) throw graphError(graph.problems);
    return graph;
  }

  #adopt(graph: Graph): Graph {
    const before = this.#graph;
    const { services } = this.#kernel;
    for (const [service, provider] of graph.providers) {
      const record = this.#record(provider);
      const token = record.definition.provides?.find(({ id }) => id === service);
      if (token !== undefined) services.assign(token, record.gate);
    }
    for (const service of before.providers.keys()) {
      if (!graph.providers.has(service)) services.unassign(service);
    }
    this.#graph = graph;
    return before;
  }

  #affected(name: string): readonly PluginRecord[] {
    const affected = new Set([name]);
    // A Set goes on over what is added meanwhile.
    for (const provider of affected) {
      const tokens = this.#record(provider).definition.provides ?? [];
      const restarting = new Set(tokens.filter(({ rebind }) => rebind === 'restart').map(({ id }) => id));
      for (const { definition, state } of this.#records.values()) {
        if (state !== 'ready') continue;
        const ids = requirementsOf(definition).map(({ token }) => token.id);
        const isConsumer = ids.some((id) => restarting.has(id) && this.#graph.providers.get(id) === provider);
        if (isConsumer) affected.add(definition.name);
      }
    }
    const inOrder = this.#graph.waves.flat().filter((n) => affected.has(n));
    return inOrder.map((n) => this.#record(n));
  }

  #dependents(name: string): readonly string[] {
    return [...this.#records.values()]
      .filter((record) => record.name !== name && record.state !== 'failed')
      .filter(({ definition }) =>
        requirementsOf(definition).some((r) => !r.optional && this.#graph.providers.get(r.token.id) === name),
      )
      .map((record) => record.name);
  }

  #record(name: string): PluginRecord {
    const record = this.#records.get(name);
    if (record !== undefined) return record;
    const nearest = didYouMean(name, this.#records.keys());
    throw errors.CORE_ERR_PLUGIN_UNKNOWN({ details: { plugin: name, nearest } });
  }

  #policy(settings: PluginSettings): FailurePolicy {
    return settings.onFailure ?? this.#options.onFailure ?? 'abort';
  }

  // ---- commands and states --------------------------------------------------------------------------------------------

  #createCommandTable(): CommandTable {
    const { commands, clock, timeouts, tracer } = this.#kernel;
    const own = commands.view(this.#scope);
    return {
      list: () => commands.list(),
      add: (spec, handler) => own.add(spec, handler),
      run: async (name, invocation) => {
        // A plugin that is being reloaded adds its commands again in a moment.
        if (commands.find(name) === undefined) {
          const late = (): Error => errors.CORE_ERR_CLOSING({ details: { what: name } });
          await withDeadline(clock, timeouts.swapMs, this.#changes.idle(), late);
        }
        const command = commands.find(name);
        if (command === undefined) {
          const nearest = didYouMean(
            name,
            commands.list().map((spec) => spec.name),
          );
          throw errors.CORE_ERR_COMMAND_UNKNOWN({ details: { command: name, nearest } });
        }
        const run = async (): Promise<number> => (await command.handler(invocation)) ?? 0;
        return tracer.span('command', name, command.plugin, run, { args: invocation.args });
      },
    };
  }

  #expect(what: string, legal: readonly RuntimeState[]): void {
    if (legal.includes(this.#state)) return;
    const details = { what, who: 'the runtime', state: this.#state, legal: legal.join(', ') };
    throw errors.CORE_ERR_STATE({ details });
  }

  #move(to: RuntimeState): void {
    const from = this.#state;
    this.#state = to;
    this.#kernel.tracer.point('plugin', `runtime.${to}`, CORE_OWNER, { from });
    this.#kernel.events.emit(CORE_OWNER, 'core:runtime-state', { from, to });
  }
}

/** One problem as itself, several under CORE_ERR_GRAPH with all of them as `errors` of its cause. */
function graphError(problems: readonly unknown[]): unknown {
  if (problems.length === 1) return problems[0];
  const first = problems.find((p): p is RuntimeError => isRuntimeError(p));
  return errors.CORE_ERR_GRAPH({
    details: { count: problems.length },
    cause: new AggregateError(problems, 'problems of the plugin graph'),
    ...(first?.plugin === undefined ? {} : { plugin: first.plugin }),
  });
}
