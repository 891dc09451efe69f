// A plugin as it runs in its own process: the same code, with a context whose every part is a message.

import { systemClock } from '../clock.ts';
import { checkConfig, isProblem } from '../config-check.ts';
import type { AnyContext } from '../context.ts';
import { errors } from '../core-errors.ts';
import type { RuntimeEvent } from '../events.ts';
import type { Keepers } from '../keepers.ts';
import type { AnyPlugin, DisposeReason, PluginInstance } from '../plugin.ts';
import { Scope } from '../scope.ts';
import { isMethodName } from '../services.ts';
import { PHASES, type Phase, type SetupResult, type StartMessage } from './messages.ts';
import { RemoteCommands, type RemoteInvocation } from './remote-commands.ts';
import { RemoteEvents } from './remote-events.ts';
import { RemoteHooks } from './remote-hooks.ts';
import type { RemoteLink } from './remote-link.ts';
import { createRemoteLog } from './remote-log.ts';
import { RemoteProcesses } from './remote-processes.ts';
import { createRemoteResources } from './remote-resources.ts';
import { RemoteTracer } from './remote-tracer.ts';

type Method = (...args: readonly unknown[]) => unknown;

export class RemotePlugin {
  readonly #definition: AnyPlugin;
  readonly #link: RemoteLink;
  readonly #scope: Scope;
  readonly #events: RemoteEvents;
  readonly #hooks: RemoteHooks;
  readonly #processes: RemoteProcesses;
  readonly #commands: RemoteCommands;
  readonly #tracer: RemoteTracer;
  readonly #services: Map<string, object> = new Map();
  #instance: PluginInstance<unknown> = {};
  /** Who calls, during the synchronous part of a service method. */
  #caller: string | undefined;
  #lastWork = 0;

  constructor(definition: AnyPlugin, start: StartMessage, link: RemoteLink) {
    this.#definition = definition;
    this.#link = link;
    this.#scope = new Scope(definition.name);
    this.#events = new RemoteEvents(link, this.#scope);
    this.#hooks = new RemoteHooks(link, this.#scope);
    this.#processes = new RemoteProcesses(link, definition.name);
    this.#commands = new RemoteCommands(link, this.#scope);
    this.#tracer = new RemoteTracer(start.runtime, link);
  }

  set tracing(active: boolean) {
    this.#tracer.active = active;
  }

  /** @throws what the plugin's setup throws, CORE_ERR_CONFIG */
  async setup(start: StartMessage): Promise<SetupResult> {
    const checked = await checkConfig(this.#definition, start.config);
    if (isProblem(checked)) throw checked;
    const instance = await this.#definition.setup(this.#createContext(start, checked.config));
    this.#instance = instance ?? {};
    const services = Array.from(this.#services, ([id, implementation]) => ({ id, methods: methodsOf(implementation) }));
    return { services, phases: PHASES.filter((phase) => this.#instance[phase] !== undefined) };
  }

  phase(phase: Phase, argument: unknown): unknown {
    switch (phase) {
      case 'ready':
        return this.#instance.ready?.();
      case 'quiesce':
        return this.#instance.quiesce?.(argument as AbortSignal);
      case 'resume':
        return this.#instance.resume?.();
      case 'snapshot':
        return this.#instance.snapshot?.();
      case 'dispose':
        return this.#dispose(argument as DisposeReason);
    }
  }

  service(id: string, method: string, caller: string | undefined, args: readonly unknown[]): unknown {
    const implementation = this.#services.get(id) as Readonly<Record<string, unknown>> | undefined;
    const fn = implementation?.[method];
    if (typeof fn !== 'function') {
      const details = { service: id, method, provider: this.#definition.name };
      throw errors.CORE_ERR_SERVICE_METHOD({ details });
    }
    this.#caller = caller;
    try {
      return (fn as Method).apply(implementation, [...args]);
    } finally {
      this.#caller = undefined;
    }
  }

  tap(key: string, args: readonly unknown[]): unknown {
    return this.#hooks.run(key, args);
  }

  deliver(key: string, event: RuntimeEvent): void {
    this.#events.deliver(key, event);
  }

  command(key: string, id: number, invocation: RemoteInvocation, signal: AbortSignal): Promise<number> {
    return this.#commands.run(key, id, invocation, signal);
  }

  check(key: string): unknown {
    return this.#commands.check(key);
  }

  ask(key: string): Promise<void> {
    return this.#processes.ask(key);
  }

  async #dispose(reason: DisposeReason): Promise<void> {
    try {
      await this.#instance.dispose?.(reason);
    } finally {
      await this.#scope.close(new Error(`${this.#definition.name} is unloaded (${reason})`));
    }
  }

  #createContext(start: StartMessage, config: unknown): AnyContext {
    const { name, version = '0.0.0' } = this.#definition;
    const link = this.#link;
    return Object.freeze({
      name,
      version,
      config,
      services: this.#handles(start.services),
      events: this.#events.bus,
      hooks: this.#hooks.bus,
      resources: createRemoteResources(link, this.#scope),
      keepers: this.#keepers(),
      processes: this.#processes.supervisor,
      commands: this.#commands.commands,
      checks: this.#commands.checks,
      state: {
        directory: start.stateDirectory,
        read: (document) => link.call('state.read', document),
        write: async (document, value) => void (await link.call('state.write', document, value)),
        remove: async (document) => void (await link.call('state.remove', document)),
        list: () => link.call('state.list') as Promise<readonly string[]>,
      },
      trace: this.#tracer,
      clock: systemClock,
      log: createRemoteLog(link),
      scope: this.#scope,
      signal: this.#scope.signal,
      previous: start.previous,
      provide: (token, implementation) => this.#provide(token.id, implementation),
      track: (label, work) => this.#track(label, work),
      caller: () => this.#caller,
    } satisfies AnyContext);
  }

  #provide(service: string, implementation: object): void {
    const { name: plugin, provides = [] } = this.#definition;
    if (!provides.some(({ id }) => id === service)) {
      throw errors.CORE_ERR_SERVICE_UNDECLARED({ plugin, details: { plugin, service } });
    }
    this.#services.set(service, implementation);
  }

  #handles(present: readonly string[]): AnyContext['services'] {
    const keys = Object.keys(this.#definition.requires ?? {});
    const entries = keys.map((key) => [key, present.includes(key) ? this.#handle(key) : undefined]);
    return Object.freeze(Object.fromEntries(entries)) as AnyContext['services'];
  }

  #handle(key: string): object {
    const methods = new Map<string, Method>();
    return new Proxy(Object.create(null) as object, {
      get: (_target, method) => {
        if (!isMethodName(method)) return undefined;
        const known = methods.get(method);
        if (known !== undefined) return known;
        const made: Method = (...args) => this.#link.call('service', key, method, [...args]);
        methods.set(method, made);
        return made;
      },
      set: () => false,
    });
  }

  /** What is kept would have to outlive this process, since a reload ends it. */
  #keepers(): Keepers {
    const { name: plugin } = this.#definition;
    const refuse = (what: string): never => {
      const instead = 'Open it again in setup(), or hand its description over in snapshot()';
      throw errors.CORE_ERR_HOST_UNSUPPORTED({ plugin, details: { plugin, what, instead } });
    };
    return {
      keep: async (kind) => refuse(`keeping what cannot be cloned (${kind}) through a reload`),
      drop: async () => {},
    };
  }

  #track<T>(label: string, work: Promise<T>): Promise<T> {
    this.#lastWork += 1;
    const id = this.#lastWork;
    this.#link.tell('track', id, label);
    const settle = (): void => this.#link.tell('untrack', id);
    work.then(settle, settle);
    return work;
  }
}

/** Own and inherited ones: a service is an object or an instance of a class. */
function methodsOf(implementation: object): readonly string[] {
  const names = new Set<string>();
  for (
    let at: object | null = implementation;
    at !== null && at !== Object.prototype;
    at = Object.getPrototypeOf(at) as object | null
  ) {
    for (const name of Object.getOwnPropertyNames(at)) if (isMethodName(name)) names.add(name);
  }
  const methods = implementation as Readonly<Record<string, unknown>>;
  return [...names].filter((name) => typeof methods[name] === 'function');
}
