// The runtime as its owner sees it: the `runtime` command, a test, or a program that embeds it.

import type { CheckReport } from './checks.ts';
import type { Clock } from './clock.ts';
import type { CommandHandler, CommandSpec, Invocation } from './commands.ts';
import type { EventBus } from './events.ts';
import type { HookBus } from './hooks.ts';
import type { NativeHost } from './host.ts';
import type { PluginState } from './lifecycle.ts';
import type { FoundPlugin, PluginLoader } from './loader/types.ts';
import type { Logger } from './logging.ts';
import type { AnyPlugin, PhaseTimeouts, Plugin, ServiceTokens } from './plugin.ts';
import type { ProcessState } from './processes/types.ts';
import type { Requires } from './requirements.ts';
import type { PoolSpec, ServiceToken } from './tokens.ts';
import type { Tracer } from './tracing.ts';

export type Isolation = 'in-process' | 'process';
export type FailurePolicy = 'abort' | 'continue';

/** Limits of a plugin in a process of its own. */
export interface IsolationLimits {
  /** Old-generation heap in MiB; default 256. */
  readonly memoryMb?: number;
  /** Milliseconds without an answer to a ping after which it is ended; default 5,000. */
  readonly unresponsiveMs?: number;
  /** Messages a second, averaged, that it may send; default 20,000. */
  readonly messagesPerSecond?: number;
}

/** Settings of one plugin, from the configuration. */
export interface PluginSettings {
  /** Checked by the plugin's own schema. */
  readonly config?: unknown;
  readonly isolation?: Isolation;
  readonly limits?: IsolationLimits;
  readonly onFailure?: FailurePolicy;
  readonly timeouts?: Partial<PhaseTimeouts>;
}

export interface RuntimeTimeouts extends PhaseTimeouts {
  /** Default deadline of an asynchronous tap. */
  readonly tapMs: number;
  /** How long a service call or a tap waits for a plugin that is being reloaded. */
  readonly swapMs: number;
  /** Deadline of start as a whole. */
  readonly startMs: number;
}

/** Milliseconds. */
export const DEFAULT_TIMEOUTS: RuntimeTimeouts = {
  setupMs: 10_000,
  readyMs: 10_000,
  quiesceMs: 10_000,
  disposeMs: 5_000,
  tapMs: 10_000,
  swapMs: 30_000,
  startMs: 120_000,
};

export interface RuntimeOptions {
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly timeouts?: Partial<RuntimeTimeouts>;
  /** Default for plugins whose settings name none; `abort`. */
  readonly onFailure?: FailurePolicy;
  /** Service id → name of the plugin that is to provide it, where several could. */
  readonly winners?: Readonly<Record<string, string>>;
  /** Pool id → bounds that replace those of the token. */
  readonly pools?: Readonly<Record<string, PoolSpec>>;
  /** For plugins given as {@link FoundPlugin}. */
  readonly loader?: PluginLoader;
  readonly native?: NativeHost;
  /** Folder for documents, process records and logs of detached children. Without one nothing outlives the runtime. */
  readonly stateDirectory?: string;
  /** Events kept per topic for late subscribers; default 16. */
  readonly eventHistory?: number;
  /** Listeners per topic above which CORE_ERR_EVENT_LEAK is logged; default 100. */
  readonly listenerLimit?: number;
}

export interface ReloadReport {
  readonly plugin: string;
  /** Consumers of its `restart` services, restarted with it. */
  readonly restarted: readonly string[];
  /**
   * `swapped`: the new code serves. `kept-old`: the new code was refused before the old was touched.
   * `rolled-back`: the new code failed and the old was set up again from the same snapshot.
   * `failed`: even that failed.
   */
  readonly outcome: 'swapped' | 'kept-old' | 'rolled-back' | 'failed';
  readonly ms: number;
  readonly error?: unknown;
}

export interface PluginReport {
  readonly name: string;
  readonly version: string;
  readonly state: PluginState;
  readonly isolation: Isolation;
  readonly origin: string;
  readonly directory: string | undefined;
  readonly requires: readonly {
    readonly service: string;
    readonly range: string;
    readonly optional: boolean;
    readonly provider: string | undefined;
  }[];
  readonly provides: readonly { readonly service: string; readonly version: string; readonly active: boolean }[];
  readonly setupMs: number | undefined;
  readonly readyMs: number | undefined;
  readonly reloads: number;
  /** What its scope still holds. */
  readonly holds: readonly string[];
  /** Work that is tracked or in flight. */
  readonly busy: readonly string[];
  readonly error: string | undefined;
}
export interface LeaseReport {
  readonly pool: string;
  readonly key: string;
  readonly owner: string;
  readonly state: 'held' | 'parked';
  readonly value: unknown;
}
export interface ProcessReport {
  readonly plugin: string;
  readonly key: string;
  readonly kind: string;
  readonly pid: number | undefined;
  readonly state: ProcessState;
  readonly restarts: number;
  readonly detached: boolean;
}
export interface RuntimeReport {
  readonly instance: string;
  readonly state: RuntimeState;
  /** Milliseconds from start() to the last `ready`. */
  readonly startMs: number | undefined;
  /** Names set up together, wave after wave. */
  readonly waves: readonly (readonly string[])[];
  readonly plugins: readonly PluginReport[];
  readonly services: readonly {
    readonly service: string;
    readonly version: string;
    readonly provider: string;
    readonly rebind: string;
    readonly consumers: readonly string[];
    readonly inFlight: number;
  }[];
  readonly hooks: readonly {
    readonly hook: string;
    readonly kind: string;
    readonly taps: readonly { readonly plugin: string; readonly stage: number }[];
  }[];
  readonly events: readonly {
    readonly topic: string;
    readonly listeners: Readonly<Record<string, number>>;
    readonly emitted: number;
  }[];
  readonly leases: readonly LeaseReport[];
  readonly keepers: readonly { readonly plugin: string; readonly key: string; readonly kind: string }[];
  readonly processes: readonly ProcessReport[];
}

export type RuntimeState = 'new' | 'starting' | 'running' | 'stopping' | 'stopped' | 'failed';

export interface CommandTable {
  list(): readonly (CommandSpec & { readonly plugin: string })[];
  /** Exit code. @throws CORE_ERR_COMMAND_UNKNOWN */
  run(name: string, invocation: Invocation): Promise<number>;
  /** Commands of the runtime's owner itself. */
  add<const T extends CommandSpec>(spec: T, handler: CommandHandler<T>): Disposable;
}

export interface Runtime extends AsyncDisposable {
  readonly instance: string;
  readonly state: RuntimeState;
  readonly events: EventBus;
  readonly hooks: HookBus;
  readonly tracer: Tracer;
  readonly commands: CommandTable;
  readonly log: Logger;
  /** Registers a plugin; nothing runs before start(). */
  use<R extends Requires, P extends ServiceTokens, C, S>(plugin: Plugin<R, P, C, S>, settings?: PluginSettings): this;
  use(plugin: FoundPlugin, settings?: PluginSettings): this;
  /** Loads, checks the whole graph, sets up in waves, then `ready`. Memoised. @throws CORE_ERR_GRAPH, CORE_ERR_PHASE_* */
  start(): Promise<void>;
  /** Reverse order; waits for a start under way. Memoised; never rejects for a plugin's failure, which is logged. */
  stop(reason?: string): Promise<void>;
  /** Adds a plugin to a running runtime. Nothing changes when it does not fit. */
  add(plugin: AnyPlugin | FoundPlugin, settings?: PluginSettings): Promise<void>;
  /** Unloads it; refused while others require it. */
  remove(name: string): Promise<void>;
  /** Serial over all plugins, coalesced per plugin. Never rejects for the new code's failure: see the report. */
  reload(name: string, next?: AnyPlugin): Promise<ReloadReport>;
  pluginState(name: string): PluginState;
  /** A live handle. */
  get<T extends object>(token: ServiceToken<T>): T;
  /** Runs every check of `runtime doctor`; a check that throws or hangs is reported as failed. */
  doctor(): Promise<readonly CheckReport[]>;
  inspect(): RuntimeReport;
  /** What keeps it from stopping, in words; empty when nothing does. */
  pending(): readonly string[];
}
