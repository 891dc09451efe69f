// What `runtime inspect` shows: everything of a runtime as plain data.

import type { Graph } from './graph.ts';
import { requirementsOf } from './graph.ts';
import type { Kernel } from './kernel.ts';
import type { PluginRecord } from './plugin-record.ts';
import type { PluginReport, RuntimeReport, RuntimeState } from './runtime-types.ts';

export interface Inspected {
  readonly kernel: Kernel;
  readonly state: RuntimeState;
  readonly startMs: number | undefined;
  readonly graph: Graph;
  readonly records: readonly PluginRecord[];
}

export function inspectRuntime({ kernel, state, startMs, graph, records }: Inspected): RuntimeReport {
  return {
    instance: kernel.instance,
    state,
    startMs,
    waves: graph.waves,
    plugins: records.map((record) => inspectPlugin(record, graph)),
    services: kernel.services.report(),
    hooks: kernel.hooks.report(),
    events: kernel.events.report(),
    leases: kernel.resources.inspect(),
    keepers: kernel.keepers.report(),
    processes: kernel.processes.report(),
  };
}

function inspectPlugin(record: PluginRecord, graph: Graph): PluginReport {
  const { definition, found, settings, error } = record;
  return {
    name: record.name,
    version: definition.version ?? '0.0.0',
    state: record.state,
    isolation: settings.isolation ?? 'in-process',
    origin: found?.origin ?? 'given',
    directory: found?.directory,
    requires: requirementsOf(definition).map(({ token, range, optional }) => ({
      service: token.id,
      range,
      optional,
      provider: graph.providers.get(token.id),
    })),
    provides: (definition.provides ?? []).map(({ id, version }) => ({
      service: id,
      version,
      active: graph.providers.get(id) === record.name,
    })),
    setupMs: record.setupMs,
    readyMs: record.readyMs,
    reloads: record.reloads,
    holds: record.holds,
    busy: record.busy,
    error: error === undefined ? undefined : error instanceof Error ? error.message : String(error),
  };
}
