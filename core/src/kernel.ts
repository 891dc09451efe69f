// The shared parts of one runtime, in one place: what a plugin's context is made of.

import type { CheckTable } from './checks.ts';
import type { Clock } from './clock.ts';
import type { CommandHub } from './commands.ts';
import type { EventHub } from './events.ts';
import type { HookTable } from './hooks.ts';
import type { KeeperTable } from './keepers.ts';
import type { Logger } from './logging.ts';
import type { ProcessTable } from './processes/process-table.ts';
import type { ResourceTable } from './resources.ts';
import type { RuntimeTimeouts } from './runtime-types.ts';
import type { ServiceTable } from './services.ts';
import type { StateStore } from './state-store.ts';
import type { Tracer } from './tracing.ts';

export interface Kernel {
  readonly instance: string;
  readonly log: Logger;
  readonly clock: Clock;
  readonly timeouts: RuntimeTimeouts;
  readonly tracer: Tracer;
  readonly events: EventHub;
  readonly hooks: HookTable;
  readonly services: ServiceTable;
  readonly resources: ResourceTable;
  readonly keepers: KeeperTable;
  readonly processes: ProcessTable;
  readonly commands: CommandHub;
  readonly checks: CheckTable;
  /** Documents of one plugin. */
  stateStore(plugin: string): StateStore;
}

/** Owner of what the runtime itself registers. */
export const CORE_OWNER = 'core';
/** Consumer name of the program that owns the runtime. */
export const RUNTIME_OWNER = 'runtime';
