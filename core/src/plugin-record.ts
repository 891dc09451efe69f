// One plugin in one runtime: its state, its gate, and its phases, each with a deadline that names who was waited for.

import { withDeadline } from './clock.ts';
import { createContext } from './context.ts';
import { errors } from './core-errors.ts';
import { isRuntimeError } from './errors.ts';
import { Gate } from './gate.ts';
import { makeHandover } from './handover.ts';
import { CORE_OWNER, type Kernel } from './kernel.ts';
import { checkTransition, type PluginState } from './lifecycle.ts';
import type { FoundPlugin } from './loader/types.ts';
import { inPhaseOf } from './phase.ts';
import type { AnyPlugin, DisposeReason, Handover, PhaseTimeouts, PluginInstance } from './plugin.ts';
import type { PluginSettings } from './runtime-types.ts';
import { Scope } from './scope.ts';
import { WorkList } from './work-list.ts';

/** The phases of a plugin's life, and which deadline each has. */
const PHASES = {
  setup: 'setupMs',
  ready: 'readyMs',
  quiesce: 'quiesceMs',
  snapshot: 'quiesceMs',
  dispose: 'disposeMs',
} as const satisfies Record<string, keyof PhaseTimeouts>;
type Phase = keyof typeof PHASES;

/** A call shorter than this is not worth blaming. */
const BLAME_MS = 5;

export class PluginRecord {
  readonly name: string;
  readonly gate: Gate;
  readonly settings: PluginSettings;
  /** Where the code is, for plugins that were found rather than given. */
  readonly found: FoundPlugin | undefined;
  definition: AnyPlugin;
  /** As the plugin's schema made it. */
  config: unknown;
  setupMs: number | undefined;
  readyMs: number | undefined;
  reloads = 0;
  error: unknown;
  readonly #kernel: Kernel;
  #state: PluginState = 'registered';
  #scope: Scope | undefined;
  #work: WorkList = new WorkList();
  #instance: PluginInstance<unknown> = {};

  constructor(
    kernel: Kernel,
    definition: AnyPlugin,
    settings: PluginSettings,
    found: FoundPlugin | undefined,
    config: unknown,
  ) {
    this.#kernel = kernel;
    this.name = definition.name;
    this.definition = definition;
    this.settings = settings;
    this.found = found;
    this.config = config;
    this.gate = new Gate(definition.name, kernel.clock);
  }

  get state(): PluginState {
    return this.#state;
  }

  get serving(): boolean {
    return this.#state === 'ready' || this.#state === 'waiting';
  }

  /** What its scope holds. */
  get holds(): readonly string[] {
    return this.#scope?.labels ?? [];
  }

  /** Tracked work and calls under way. */
  get busy(): readonly string[] {
    const { inside } = this.gate;
    return inside > 0 ? [...this.#work.labels, `${inside} call(s)`] : this.#work.labels;
  }

  move(to: PluginState): void {
    const from = this.#state;
    checkTransition(this.name, from, to);
    this.#state = to;
    this.#kernel.tracer.point('plugin', `${this.name}.${to}`, this.name, { from });
    this.#kernel.events.emit(CORE_OWNER, 'core:plugin-state', { plugin: this.name, from, to });
  }

  /** Leaves the gate closed: whoever started the setup decides when callers may come in. */
  async setup(previous: Handover<unknown> | undefined, limitMs: number = Number.POSITIVE_INFINITY): Promise<void> {
    this.move('setup');
    this.error = undefined;
    const scope = new Scope(this.name);
    this.#scope = scope;
    this.#work = new WorkList();
    this.#instance = {};
    const startedAt = this.#kernel.clock.now();
    await this.#phase('setup', limitMs, async () => {
      const parts = { definition: this.definition, config: this.config, gate: this.gate, work: this.#work, previous };
      const instance = await this.definition.setup(createContext({ ...parts, kernel: this.#kernel, scope }));
      // A setup that comes back after its deadline finds its scope closed, and must not become the instance.
      if (!scope.closed) this.#instance = instance ?? {};
      this.#checkProvided();
    });
    this.setupMs = this.#kernel.clock.now() - startedAt;
    this.move('waiting');
  }

  async ready(limitMs: number = Number.POSITIVE_INFINITY): Promise<void> {
    const startedAt = this.#kernel.clock.now();
    await this.#phase('ready', limitMs, async () => this.#instance.ready?.());
    this.readyMs = this.#kernel.clock.now() - startedAt;
    this.move('ready');
  }

  /** Lets nobody in any more and waits until everybody is out. */
  async quiesce(): Promise<void> {
    this.move('quiescing');
    this.gate.close();
    const signal = this.#scope?.signal ?? AbortSignal.abort();
    await this.#phase('quiesce', Number.POSITIVE_INFINITY, async () => {
      await this.#instance.quiesce?.(signal);
      await Promise.all([this.gate.idle(), this.#work.idle()]);
    });
    this.move('paused');
  }

  async snapshot(): Promise<Handover<unknown> | undefined> {
    const take = this.#instance.snapshot?.bind(this.#instance);
    if (take === undefined) return undefined;
    const state = await this.#phase('snapshot', Number.POSITIVE_INFINITY, async () => take());
    return makeHandover(this.definition, state);
  }

  /** Goes on as if nothing had happened: the reload was given up before anything was taken down. */
  async resume(): Promise<void> {
    if (this.#state !== 'quiescing' && this.#state !== 'paused') return;
    try {
      await this.#instance.resume?.();
    } catch (err) {
      this.#kernel.log.error({ plugin: this.name, err }, `${this.name} could not resume properly`);
    }
    this.move('ready');
    this.gate.openUp();
  }

  /** Ends in `disposed`, whatever fails on the way; failures are logged. */
  async dispose(reason: DisposeReason): Promise<void> {
    this.move('disposing');
    await this.#takeDown(reason);
    this.move('disposed');
  }

  /** Takes down what a failed phase left behind. */
  async fail(error: unknown): Promise<void> {
    this.error = error;
    this.move('failed');
    this.gate.close();
    await this.#takeDown('failed');
  }

  async #takeDown(reason: DisposeReason): Promise<void> {
    const scope = this.#scope;
    if (scope === undefined) return;
    const attempt = async (what: string, fn: () => unknown): Promise<void> => {
      try {
        await this.#phase('dispose', Number.POSITIVE_INFINITY, async () => fn());
      } catch (err) {
        this.#kernel.log.error({ plugin: this.name, err, holds: scope.labels }, `${what} of ${this.name} failed`);
      }
    };
    await attempt('dispose', () => this.#instance.dispose?.(reason));
    await attempt('cleanup', () => scope.close(new Error(`${this.name} is unloaded (${reason})`)));
    this.#instance = {};
    this.#scope = undefined;
    this.#kernel.services.release(this.name);
  }

  /** For good: whoever waits for it is told so. */
  abandon(): void {
    const details = { service: '(any)', method: '(any)', provider: this.name, state: this.#state };
    this.gate.abandon(() => errors.CORE_ERR_SERVICE_GONE({ plugin: this.name, details }));
  }

  #checkProvided(): void {
    for (const { id: service } of this.definition.provides ?? []) {
      const isTheirs = this.#kernel.services.providerOf(service) !== this.name;
      if (isTheirs || this.#kernel.services.isImplemented(service)) continue;
      const details = { plugin: this.name, service };
      throw errors.CORE_ERR_SERVICE_NOT_PROVIDED({ plugin: this.name, details });
    }
  }

  #timeout(option: keyof PhaseTimeouts): number {
    return this.settings.timeouts?.[option] ?? this.definition.timeouts?.[option] ?? this.#kernel.timeouts[option];
  }

  #phase<T>(phase: Phase, limitMs: number, fn: () => Promise<T>): Promise<T> {
    const { kernel, name } = { kernel: this.#kernel, name: this.name };
    const option = PHASES[phase];
    const ms = Math.max(1, Math.min(this.#timeout(option), limitMs));
    const late = (): Error => {
      const details = { phase, plugin: name, ms: Math.round(ms), option, blame: this.#blame() };
      return errors.CORE_ERR_PHASE_TIMEOUT({ plugin: name, details });
    };
    return kernel.tracer.span('plugin', `${name}.${phase}`, name, async () => {
      try {
        const work = (): Promise<T> => inPhaseOf(name, fn);
        return await kernel.services.watching(name, () => withDeadline(kernel.clock, ms, work(), late));
      } catch (cause) {
        if (isRuntimeError(cause) && cause.plugin === name && cause.code.startsWith('CORE_ERR_')) throw cause;
        throw errors.CORE_ERR_PHASE_FAILED({ plugin: name, cause, details: { phase, plugin: name } });
      }
    });
  }

  /** Who it was waiting for, if for anybody. */
  #blame(): string {
    const now = performance.now();
    const calls = this.#kernel.services
      .openCalls(this.name)
      .filter(({ since }) => now - since >= BLAME_MS)
      .map(({ service, method, provider, since }) => {
        return `service call ${service}.${method} of ${provider} (${Math.round(now - since)} ms)`;
      });
    const children = this.#kernel.processes
      .report()
      .filter(({ plugin, state }) => plugin === this.name && state === 'starting')
      .map(({ key }) => `process ${key} to become ready`);
    const tracked = this.#state === 'quiescing' ? this.busy : [];
    const all = [...calls, ...children, ...tracked];
    return all.length === 0 ? '' : `; it was waiting for ${all.join(', ')}`;
  }
}
