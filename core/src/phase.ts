// Which plugin's setup, quiesce or snapshot the current asynchronous work belongs to. A closed gate lets that plugin's
// own work through, however indirect, since waiting for itself would never end. Read on slow paths only.

import { AsyncLocalStorage } from 'node:async_hooks';

const phases = new AsyncLocalStorage<string>();

export function inPhaseOf<T>(plugin: string, fn: () => T): T {
  return phases.run(plugin, fn);
}

export function currentPhase(): string | undefined {
  return phases.getStore();
}
