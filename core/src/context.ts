// The one place that makes a plugin's view of the world. Everything a plugin can do, it does through this object.

import { errors } from './core-errors.ts';
import type { Gate } from './gate.ts';
import type { Kernel } from './kernel.ts';
import type { AnyPlugin, Handover, PluginContext, ServiceTokens } from './plugin.ts';
import { normalizeRequirement, type Requires } from './requirements.ts';
import type { Scope } from './scope.ts';
import { callerOfService } from './services.ts';
import type { WorkList } from './work-list.ts';

export type AnyContext = PluginContext<Requires, ServiceTokens, unknown, unknown>;

export interface ContextParts {
  readonly kernel: Kernel;
  readonly definition: AnyPlugin;
  readonly config: unknown;
  readonly scope: Scope;
  readonly gate: Gate;
  readonly work: WorkList;
  readonly previous: Handover<unknown> | undefined;
}

export function createContext(parts: ContextParts): AnyContext {
  const { kernel, definition, scope, gate, work } = parts;
  const { name } = definition;
  return Object.freeze({
    name,
    version: definition.version ?? '0.0.0',
    config: parts.config,
    services: resolveServices(kernel, definition),
    events: kernel.events.view(scope),
    hooks: kernel.hooks.view(scope, gate),
    resources: kernel.resources.view(scope),
    keepers: kernel.keepers.view(scope),
    processes: kernel.processes.supervisor(name, scope),
    commands: kernel.commands.view(scope),
    checks: kernel.checks.view(scope),
    state: kernel.stateStore(name),
    trace: kernel.tracer,
    clock: kernel.clock,
    log: kernel.log.child({ plugin: name }),
    scope,
    signal: scope.signal,
    previous: parts.previous,
    provide: (token, implementation) => provide(kernel, definition, scope, token.id, implementation),
    track: (label, promise) => work.add(label, promise),
    caller: callerOfService,
  } satisfies AnyContext);
}

function resolveServices(kernel: Kernel, definition: AnyPlugin): AnyContext['services'] {
  const entries = Object.entries(definition.requires ?? {}).map(([key, requirement]) => {
    const { token, optional } = normalizeRequirement(requirement);
    const handle = kernel.services.handle(token, definition.name);
    if (handle === undefined && !optional) {
      const details = { plugin: definition.name, service: token.id };
      throw errors.CORE_ERR_SERVICE_MISSING({ plugin: definition.name, details });
    }
    return [key, handle];
  });
  return Object.freeze(Object.fromEntries(entries)) as AnyContext['services'];
}

function provide(kernel: Kernel, definition: AnyPlugin, scope: Scope, service: string, implementation: object): void {
  // A setup that comes back after its deadline must not take the place of the instance that was put back.
  if (scope.closed) {
    const details = { owner: definition.name, label: `service ${service}` };
    throw errors.CORE_ERR_SCOPE_CLOSED({ plugin: definition.name, details });
  }
  const declared = (definition.provides ?? []).some((token) => token.id === service);
  if (!declared) {
    const details = { plugin: definition.name, service };
    throw errors.CORE_ERR_SERVICE_UNDECLARED({ plugin: definition.name, details });
  }
  kernel.services.implement(service, definition.name, implementation);
}
