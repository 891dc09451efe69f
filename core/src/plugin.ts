// What a plugin is: a frozen description with a `setup`. Nothing here runs.

import type { CheckRegistry } from './checks.ts';
import type { Clock } from './clock.ts';
import type { CommandRegistry } from './commands.ts';
import type { EventBus } from './events.ts';
import type { HookBus } from './hooks.ts';
import type { Keepers } from './keepers.ts';
import type { Logger } from './logging.ts';
import type { ProcessSupervisor } from './processes/types.ts';
import type { Requires, Resolved } from './requirements.ts';
import type { ResourceAllocator } from './resources.ts';
import type { Scope } from './scope.ts';
import type { StateStore } from './state-store.ts';
import type { ServiceToken } from './tokens.ts';
import type { Tracer } from './tracing.ts';

/** The part of https://standardschema.dev that is used, so that zod, valibot, arktype and others all fit. */
export interface Schema<T> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<T> | Promise<SchemaResult<T>>;
    readonly types?: { readonly input: unknown; readonly output: T } | undefined;
  };
}
export type SchemaResult<T> =
  | { readonly value: T; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** State handed from the old instance to the new one. It survives structuredClone; resources travel as lease keys. */
export interface Handover<S> {
  readonly schema: number;
  readonly state: S;
  /** Version of the plugin that took the snapshot. */
  readonly fromVersion: string;
}

/** Names the type of the hand-over, which TypeScript cannot infer from a `setup` that also takes `ctx`. */
export interface StateSpec<S> {
  /** Raise it whenever the shape changes. */
  readonly schema: number;
  /** Checks the shape before the old instance is touched. */
  readonly validate?: Schema<S>;
  /** Turns a snapshot of an older schema into one of this; throw to refuse. */
  readonly migrate?: (old: unknown, fromSchema: number) => S;
  /** Type carrier only. */
  readonly S?: S;
}
export function defineState<S>(spec: Omit<StateSpec<S>, 'S'>): StateSpec<S> {
  return spec;
}

/** Milliseconds. */
export interface PhaseTimeouts {
  readonly setupMs: number;
  readonly readyMs: number;
  readonly quiesceMs: number;
  readonly disposeMs: number;
}

export type ServiceTokens = readonly ServiceToken<object>[];

export interface PluginContext<R extends Requires, P extends ServiceTokens, C, S> {
  readonly name: string;
  readonly version: string;
  readonly config: C;
  /** Handles for what `requires` names; live ones keep working while the provider is reloaded. */
  readonly services: Resolved<R>;
  readonly events: EventBus;
  readonly hooks: HookBus;
  readonly resources: ResourceAllocator;
  /** fds, mappings, workers: what must outlive a reload but cannot be cloned. */
  readonly keepers: Keepers;
  readonly processes: ProcessSupervisor;
  readonly commands: CommandRegistry;
  /** Checks of `runtime doctor`. */
  readonly checks: CheckRegistry;
  /** Documents that survive the runtime, under its state directory. */
  readonly state: StateStore;
  readonly trace: Tracer;
  readonly clock: Clock;
  readonly log: Logger;
  readonly scope: Scope;
  /** Aborted when the plugin is unloaded or reloaded. */
  readonly signal: AbortSignal;
  /** Present when this setup follows a reload or the restart of a crashed plugin process. */
  readonly previous: Handover<S> | undefined;
  /** Call once for every token of `provides`, before `setup` returns. */
  provide<T extends P[number]>(token: T, implementation: T extends ServiceToken<infer I> ? I : never): void;
  /** Work that quiescing waits for. Returns `work`. */
  track<T>(label: string, work: Promise<T>): Promise<T>;
  /** The plugin whose service call runs now; read it before the first `await`. `undefined` outside of calls. */
  caller(): string | undefined;
}

export type DisposeReason = 'stop' | 'reload' | 'failed';

/** Everything is optional. */
export interface PluginInstance<S> {
  /** All plugins are set up: open sockets, take the bus name, accept calls. */
  ready?(): void | Promise<void>;
  /** Take no new work and finish what is tracked. Service calls and taps are already held back. */
  quiesce?(signal: AbortSignal): void | Promise<void>;
  /** The reload was given up; go on as before. */
  resume?(): void | Promise<void>;
  /** Called while quiet. Its presence makes the plugin hot-swappable without losing state. */
  snapshot?(): S | Promise<S>;
  /** For what the scope cannot express; runs before the scope closes. */
  dispose?(reason: DisposeReason): void | Promise<void>;
}

export interface PluginDefinition<R extends Requires, P extends ServiceTokens, C, S> {
  /** kebab-case and unique: also the name of its taps, leases and log lines. */
  readonly name: string;
  /** Semver. Left out, it is that of the package. */
  readonly version?: string;
  /** Semver range of the core it was written for. Left out, it is that of the manifest. */
  readonly core?: string;
  readonly requires?: R;
  readonly provides?: P;
  readonly config?: Schema<C>;
  readonly state?: StateSpec<S>;
  readonly timeouts?: Partial<PhaseTimeouts>;
  setup(ctx: PluginContext<R, P, C, S>): void | PluginInstance<S> | Promise<void | PluginInstance<S>>;
}

export const PLUGIN_TYPE = 'runtime.plugin/v1';

export interface Plugin<
  R extends Requires = Requires,
  P extends ServiceTokens = ServiceTokens,
  C = unknown,
  S = unknown,
> extends PluginDefinition<R, P, C, S> {
  readonly $$type: typeof PLUGIN_TYPE;
}

/**
 * A plugin whose type parameters are of no interest, as the runtime sees it. Method parameters are bivariant in
 * TypeScript, which is what lets every `Plugin<…>` be one.
 */
export type AnyPlugin = Plugin;

export function definePlugin<
  // biome-ignore lint/complexity/noBannedTypes: {} is "requires nothing"; Record<string, never> would forbid every key.
  const R extends Requires = {},
  const P extends ServiceTokens = readonly [],
  C = undefined,
  S = undefined,
>(definition: PluginDefinition<R, P, C, S>): Plugin<R, P, C, S> {
  return Object.freeze({ ...definition, $$type: PLUGIN_TYPE });
}
