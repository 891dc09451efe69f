// Keeps the process of one isolated plugin running: starts it, sets the plugin up in it, starts it again when it ends, and
// gives up when it keeps ending.

import { AsyncLocalStorage } from 'node:async_hooks';
import { withDeadline } from '../clock.ts';
import type { AnyContext } from '../context.ts';
import { errors } from '../core-errors.ts';
import type { RuntimeEvent } from '../events.ts';
import { Gate } from '../gate.ts';
import type { FoundPlugin } from '../loader/types.ts';
import type { DisposeReason, Handover, PluginInstance } from '../plugin.ts';
import { Invocations } from './command-bridge.ts';
import { ContextTable } from './contexts.ts';
import { type Description, providesOf } from './description.ts';
import { type Incarnation, startIncarnation } from './incarnation.ts';
import { BACKOFF_MS, CRASH_LIMIT, CRASH_WINDOW_MS, type HostLimits, RESTART_WAIT_MS } from './limits.ts';
import { type Phase, parseAs, SETUP_RESULT, type SetupResult, type StartMessage } from './messages.ts';
import { MissedEvents } from './missed-events.ts';
import { Registrations } from './registrations.ts';
import { Session } from './session.ts';

export interface PluginHostOptions {
  readonly ctx: AnyContext;
  readonly found: FoundPlugin;
  readonly description: Description;
  readonly limits: HostLimits;
  /** Package name → URL of a module from which it resolves to the copy that this process uses. */
  readonly own: Readonly<Record<string, string>>;
  /** Milliseconds that setting up again after a crash may take. */
  readonly setupMs: number;
}

/** The process that the present work sets up: what it leads to may call into it, although it is not open to others. */
const settingUp = new AsyncLocalStorage<Incarnation>();

export class PluginHost {
  readonly #options: PluginHostOptions;
  readonly #ctx: AnyContext;
  readonly #contexts: ContextTable = new ContextTable();
  readonly #registrations: Registrations;
  readonly #invocations: Invocations = new Invocations();
  /** Closed while there is no process that is set up. */
  readonly #gate: Gate;
  readonly #crashes: number[] = [];
  readonly #missed: MissedEvents = new MissedEvents();
  #current: Incarnation | undefined;
  #phases: ReadonlySet<Phase> = new Set();
  /** The setup of the first process succeeded. */
  #isUp = false;
  #closing: Promise<void> | undefined;
  #restart: Disposable | undefined;
  /** What the next process starts from. */
  #handover: Handover<unknown> | undefined;

  constructor(options: PluginHostOptions) {
    this.#options = options;
    this.#ctx = options.ctx;
    this.#registrations = new Registrations(options.ctx.name);
    this.#gate = new Gate(options.ctx.name, options.ctx.clock);
    this.#handover = options.ctx.previous;
  }

  /** @throws what the plugin's setup threw, CORE_ERR_HOST_GONE, CORE_ERR_HOST_UNRESPONSIVE */
  async start(): Promise<PluginInstance<unknown>> {
    // During the first setup the plugin may well call itself, through a hook of its own for instance.
    this.#gate.openUp();
    const { services } = await this.#launch();
    this.#isUp = true;
    for (const { id, methods } of services) this.#provide(id, methods);
    return this.#instance();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Waits for a process that is being started again. @throws CORE_ERR_HOST_GONE, and what the plugin throws */
  readonly #toPlugin = (method: string, args: readonly unknown[], signal?: AbortSignal): Promise<unknown> => {
    const current = this.#current;
    const mayPass = this.#gate.open || settingUp.getStore() === current;
    if (current !== undefined && mayPass) return this.#call(current, method, args, signal);
    if (this.#closing !== undefined) return Promise.reject(this.#unloaded());
    if (this.#gate.state === 'gone') return Promise.reject(this.#crashLoop());
    const late = (): Error => this.#gone(`it was not back after ${RESTART_WAIT_MS} ms`);
    return this.#gate.pass(RESTART_WAIT_MS, () => this.#toPlugin(method, args, signal), late);
  };

  async #call(to: Incarnation, method: string, args: readonly unknown[], signal?: AbortSignal): Promise<unknown> {
    const context = this.#contexts.open();
    try {
      return await to.link.call(method, args, { signal, context });
    } finally {
      this.#contexts.close(context);
    }
  }

  // ---- the plugin's side of the runtime -----------------------------------------------------------------------------

  #provide(id: string, methods: readonly string[]): void {
    const token = providesOf(this.#options.description).find((provided) => provided.id === id);
    const implementation = Object.fromEntries(
      methods.map((method) => [
        method,
        (...args: readonly unknown[]) => this.#toPlugin('service', [id, method, this.#ctx.caller(), args]),
      ]),
    );
    // The process refuses what the plugin did not declare.
    if (token !== undefined) this.#ctx.provide(token, implementation as never);
  }

  #instance(): PluginInstance<unknown> {
    const phase = async (name: Phase, signal?: AbortSignal): Promise<void> => {
      // One that is away, or given up, is as quiet as can be; what replaces it must not wait for it.
      if (this.#phases.has(name) && this.#isServing) await this.#toPlugin(name, [], signal);
    };
    const host = this;
    const instance = {
      ready: () => phase('ready'),
      quiesce: (signal: AbortSignal) => phase('quiesce', signal),
      resume: () => phase('resume'),
      // Asked for anew each time: without a process there is only what the last snapshot said, if there is one.
      get snapshot() {
        return host.#snapshotter();
      },
      async dispose(reason: DisposeReason) {
        try {
          if (host.#current !== undefined && host.#isServing) await host.#call(host.#current, 'dispose', [reason]);
        } finally {
          await host.close();
        }
      },
    };
    // The kernel looks whether there is a snapshot(); a getter that says no is the same as none.
    return instance as PluginInstance<unknown>;
  }

  get #isServing(): boolean {
    return this.#current !== undefined && this.#gate.open;
  }

  #snapshotter(): (() => unknown) | undefined {
    const last = this.#handover;
    if (!this.#phases.has('snapshot')) return undefined;
    if (!this.#isServing) return last === undefined ? undefined : () => last.state;
    return async () => {
      const state = await this.#toPlugin('snapshot', []);
      const schema = this.#options.description.state?.schema ?? 0;
      this.#handover = { schema, state, fromVersion: this.#ctx.version };
      return state;
    };
  }

  // ---- one process ----------------------------------------------------------------------------------------------------

  async #launch(): Promise<SetupResult> {
    const incarnation = await this.#spawn();
    this.#current = incarnation;
    const { found, own } = this.#options;
    const { config, state, services, trace } = this.#ctx;
    const start: StartMessage = {
      found,
      own,
      config,
      previous: this.#handover,
      services: Object.entries(services).flatMap(([key, handle]) => (handle === undefined ? [] : [key])),
      stateDirectory: state.directory,
      runtime: trace.runtime,
    };
    const result = parseAs(
      SETUP_RESULT,
      await settingUp.run(incarnation, () => this.#call(incarnation, 'setup', [start])),
      'the answer to setup',
    );
    incarnation.link.watch();
    this.#phases = new Set(result.phases);
    return result;
  }

  async #spawn(): Promise<Incarnation> {
    const incarnation = await startIncarnation({
      ctx: this.#ctx,
      limits: this.#options.limits,
      session: this.#createSession(),
      onEnd: (ended, error) => this.#ended(ended, error),
    });
    if (this.#closing !== undefined) incarnation.link.fail(this.#unloaded());
    return incarnation;
  }

  #createSession(): Session {
    return new Session({
      ctx: this.#ctx,
      contexts: this.#contexts,
      registrations: this.#registrations,
      invocations: this.#invocations,
      toPlugin: this.#toPlugin,
      deliver: (key, event) => this.#deliver(key, event),
      listening: (key, wantsMissed) => {
        const missed = this.#missed.take(key);
        if (wantsMissed) for (const event of missed) this.#deliver(key, event);
      },
    });
  }

  #deliver(key: string, event: RuntimeEvent): void {
    const link = this.#current?.link;
    // During the claim itself, too: a replay comes while the registration is being made.
    const isListening = this.#registrations.isClaimed(key) || !this.#registrations.has(key);
    if (link === undefined || !isListening) {
      this.#missed.add(key, event);
      return;
    }
    const { id, topic, data, source } = event;
    try {
      link.tell('event', [key, { id, topic, data, source }], this.#contexts.lend());
    } catch (err) {
      this.#ctx.log.warn(
        { event: topic, err },
        `event "${topic}" could not be sent to the process of ${this.#ctx.name}`,
      );
    }
  }

  // ---- its end --------------------------------------------------------------------------------------------------------

  #ended(incarnation: Incarnation, error: Error): void {
    incarnation.session.close();
    incarnation.child.kill('SIGKILL');
    if (this.#current === incarnation) this.#current = undefined;
    if (this.#closing !== undefined || !this.#isUp) return;
    this.#gate.close();
    this.#registrations.disown();
    this.#ctx.log.error({ err: error, output: incarnation.child.log.slice(-20) }, error.message);
    this.#restartLater();
  }

  #restartLater(): void {
    const { clock, log, name } = this.#ctx;
    const now = clock.now();
    this.#crashes.push(now);
    while ((this.#crashes[0] ?? now) < now - CRASH_WINDOW_MS) this.#crashes.shift();
    if (this.#crashes.length >= CRASH_LIMIT) {
      const error = this.#crashLoop();
      log.error({ err: error }, `${name} is not started again: it ended ${CRASH_LIMIT} times`);
      this.#gate.abandon(() => error);
      return;
    }
    const [first, most] = BACKOFF_MS;
    const delay = Math.min(first * 2 ** (this.#crashes.length - 1), most);
    this.#restart = clock.after(delay, () => void this.#startAgain());
  }

  async #startAgain(): Promise<void> {
    const { clock, log, name } = this.#ctx;
    const { setupMs } = this.#options;
    const details = { phase: 'setup', plugin: name, ms: setupMs, option: 'setupMs', blame: '' };
    const late = (): Error => errors.CORE_ERR_PHASE_TIMEOUT({ plugin: name, details });
    try {
      await withDeadline(clock, setupMs, this.#setUpAgain(), late);
      log.info(`${name} runs again`);
    } catch (error) {
      if (this.#closing !== undefined) return;
      log.error({ err: error }, `${name} could not be started again`);
      const failed = this.#current;
      // Its end, when it is still there, leads to the next attempt.
      if (failed === undefined) this.#restartLater();
      else failed.link.fail(this.#gone('its setup failed', error));
    }
  }

  async #setUpAgain(): Promise<void> {
    await this.#launch();
    const incarnation = this.#current;
    if (incarnation !== undefined && this.#phases.has('ready')) {
      await settingUp.run(incarnation, () => this.#call(incarnation, 'ready', []));
    }
    this.#registrations.sweep();
    if (this.#closing === undefined && this.#current !== undefined) this.#gate.openUp();
  }

  async #close(): Promise<void> {
    this.#restart?.[Symbol.dispose]();
    const reason = this.#unloaded();
    this.#gate.abandon(() => reason);
    const current = this.#current;
    if (current === undefined) return;
    await current.child.stop();
    current.link.close(reason);
    current.session.close();
    this.#current = undefined;
  }

  #unloaded(): Error {
    return this.#gone('the plugin is unloaded');
  }

  #crashLoop(): Error {
    return this.#gone(`it ended ${CRASH_LIMIT} times within ${CRASH_WINDOW_MS} ms and is not started again`);
  }

  #gone(how: string, cause?: unknown): Error {
    const { name: plugin } = this.#ctx;
    return errors.CORE_ERR_HOST_GONE({ plugin, details: { plugin, how }, cause });
  }
}
