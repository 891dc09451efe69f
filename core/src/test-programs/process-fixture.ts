// A process table for tests, with what it says and a way to clean up after it.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { systemClock } from '../clock.ts';
import { ProcessTable, type ProcessTableOptions } from '../processes/process-table.ts';
import type { ProcessSupervisor } from '../processes/types.ts';
import { Scope } from '../scope.ts';
import { Tracer } from '../tracing.ts';
import { quietLog } from './quiet-log.ts';

export interface SeenEvent {
  readonly topic: string;
  readonly key: string;
  readonly data: object;
}

export interface ProcessFixture extends AsyncDisposable {
  readonly folder: string;
  readonly table: ProcessTable;
  readonly events: readonly SeenEvent[];
  readonly log: ReturnType<typeof quietLog>;
  readonly scope: Scope;
  readonly processes: ProcessSupervisor;
  /** Another table over the same state, as of a later runtime. */
  again(options?: Partial<ProcessTableOptions>): ProcessFixture;
}

export const PLUGIN = 'demo';

export function processFixture(
  options: Partial<ProcessTableOptions> = {},
  folder: string = mkdtempSync(join(tmpdir(), 'processes-')),
): ProcessFixture {
  const events: SeenEvent[] = [];
  const log = quietLog();
  const instance = 'test';
  const table = new ProcessTable({
    instance,
    log,
    clock: systemClock,
    tracer: new Tracer(instance),
    emit: (topic, data) => events.push({ topic, key: data.key, data }),
    callBeforeSpawn: async (plan) => plan,
    stateDirectory: folder,
    ...options,
  });
  const scope = new Scope(PLUGIN);
  return {
    folder,
    table,
    events,
    log,
    scope,
    processes: table.supervisor(PLUGIN, scope),
    again: (more) => processFixture({ ...options, ...more }, folder),
    async [Symbol.asyncDispose]() {
      await scope.close();
      await table.stopAll();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Waits until it holds; the test's own deadline ends the wait. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await pause(5);
}
