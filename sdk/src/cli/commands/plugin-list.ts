// `runtime plugin list`

import type { FoundPlugin, PluginManifest } from '@runtime/core';
import { findPlugin, findPlugins, listPlugins, type Places } from '@runtime/core/loader';
import { configOf } from '../app.ts';
import { withClientIfAny } from '../client.ts';
import type { CliContext } from '../context.ts';
import { errorText } from '../error-text.ts';
import { formatTable } from '../format.ts';
import { pluginPlaces } from '../places.ts';
import { printResult } from '../print.ts';

export interface PluginListItem {
  readonly name: string;
  readonly package: string | null;
  readonly version: string;
  readonly description: string;
  /** path, project, runtime, user; `given` when the runtime got it as an object. */
  readonly origin: string;
  readonly directory: string | null;
  /** Named by the configuration or by --plugins. */
  readonly configured: boolean;
  /** In the running runtime; null when it is not loaded there, or none runs. */
  readonly state: string | null;
  readonly isolation: string | null;
}

export async function run(context: CliContext): Promise<void> {
  const { config } = await configOf(context);
  const places = pluginPlaces(context.env, context.cwd);
  const { plugins, problems } = listPlugins(places);
  const problemTexts: unknown[] = problems.map(({ error }) => error);
  const configured = config.plugins.flatMap((spec): readonly FoundPlugin[] => {
    try {
      return findPlugins([spec], places);
    } catch (e) {
      problemTexts.push(e);
      return [];
    }
  });
  const running = (await withClientIfAny(context, (client) => client.request('plugin.list', {}))) ?? [];

  const items = new Map<string, PluginListItem>();
  const chosen = new Set(configured.map(({ manifest }) => manifest.plugin));
  for (const { manifest, directory, origin } of [...configured, ...plugins]) {
    if (items.has(manifest.plugin)) continue;
    const report = running.find(({ name }) => name === manifest.plugin);
    items.set(manifest.plugin, {
      name: manifest.plugin,
      package: manifest.package,
      version: report?.version ?? manifest.version,
      description: manifest.description,
      origin,
      directory: report?.directory ?? directory,
      configured: chosen.has(manifest.plugin),
      state: report?.state ?? null,
      isolation: report?.isolation ?? null,
    });
  }
  for (const { name, version, origin, directory, state, isolation } of running) {
    if (items.has(name)) continue;
    const manifest = directory === undefined ? undefined : manifestIn(directory, places);
    items.set(name, {
      name,
      package: manifest?.package ?? null,
      version,
      description: manifest?.description ?? '',
      origin,
      directory: directory ?? null,
      configured: false,
      state,
      isolation,
    });
  }
  const rows = [...items.values()].toSorted((a, b) => a.name.localeCompare(b.name));
  await printResult(context, rows, () => (rows.length === 0 ? EMPTY : table(rows)));
  for (const error of problemTexts) {
    await context.terminal.err(`${errorText(error, { paint: context.terminal.paintErr })}\n`);
  }
}

/** Of a plugin that another process has loaded from a path. */
function manifestIn(directory: string, places: Places): PluginManifest | undefined {
  try {
    return findPlugin(directory, places).manifest;
  } catch {
    return undefined;
  }
}

const EMPTY = 'no plugins found; runtime plugin new <folder> writes one';

function table(rows: readonly PluginListItem[]): string {
  return formatTable(rows, [
    { title: 'PLUGIN', value: (p) => p.name },
    { title: 'VERSION', value: (p) => p.version },
    { title: 'STATE', value: (p) => p.state ?? (p.configured ? 'configured' : undefined) },
    { title: 'FROM', value: (p) => p.origin },
    { title: 'DESCRIPTION', value: (p) => p.description },
  ]);
}
