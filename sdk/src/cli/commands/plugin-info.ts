// `runtime plugin info`

import { type FoundPlugin, isRuntimeError, type PluginReport } from '@runtime/core';
import { findPlugin } from '@runtime/core/loader';
import { configOf } from '../app.ts';
import { withClientIfAny } from '../client.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { formatFields } from '../format.ts';
import { pluginPlaces } from '../places.ts';
import { printResult } from '../print.ts';

export async function run(context: CliContext, { args: [spec = ''] }: CliCall): Promise<void> {
  const running = await withClientIfAny(context, (client) => client.request('plugin.list', {}));
  const byName = running?.find(({ name }) => name === spec);
  let found: FoundPlugin | undefined;
  try {
    found = await locate(context, byName?.directory ?? spec);
  } catch (e) {
    // Given to the runtime as an object: there is no manifest.
    if (byName === undefined) throw e;
  }
  const report = byName ?? running?.find(({ name }) => name === found?.manifest.plugin);
  const info = {
    ...(found === undefined
      ? { plugin: spec }
      : { ...found.manifest, origin: found.origin, directory: found.directory, entry: found.entry }),
    running: report ?? null,
  };
  await printResult(context, info, () => text(found, report));
}

/** Also by the name of a plugin that the configuration or --plugins names by its path. */
async function locate(context: CliContext, spec: string): Promise<FoundPlugin> {
  const places = pluginPlaces(context.env, context.cwd);
  const { config } = await configOf(context);
  for (const configured of config.plugins) {
    try {
      const found = findPlugin(configured, places);
      if (found.manifest.plugin === spec) return found;
    } catch (e) {
      if (!isRuntimeError(e)) throw e;
    }
  }
  return findPlugin(spec, places);
}

function text(found: FoundPlugin | undefined, report: PluginReport | undefined): string {
  const manifest = found?.manifest;
  const requires =
    report?.requires.map(
      (r) => `${r.service} ${r.range}${r.optional ? ' (optional)' : ''} from ${r.provider ?? 'nobody'}`,
    ) ??
    Object.entries(manifest?.requires ?? {}).map(([id, r]) => `${id} ${r.range}${r.optional ? ' (optional)' : ''}`);
  const provides =
    report?.provides.map((p) => `${p.service} ${p.version}${p.active ? '' : ' (another plugin is preferred)'}`) ??
    Object.entries(manifest?.provides ?? {}).map(([id, version]) => `${id} ${version}`);
  const fields: [string, unknown][] = [
    ['plugin', manifest?.plugin ?? report?.name],
    ['version', report?.version ?? manifest?.version],
    ['description', manifest?.description],
    ['package', manifest?.package],
    ['from', found?.origin ?? report?.origin],
    ['folder', found?.directory],
    ['loads', found?.entry],
    ['core', manifest?.core],
    ['provides', provides],
    ['requires', requires],
    ['commands', manifest?.commands.map(({ name }) => name)],
    ['state', report?.state ?? 'not running'],
  ];
  if (report !== undefined) {
    fields.push(
      ['runs', report.isolation],
      ['set up in', report.setupMs === undefined ? undefined : `${report.setupMs.toFixed(1)} ms`],
      ['reloads', report.reloads],
      ['busy with', report.busy],
      ['holds', report.holds],
      ['error', report.error],
    );
  }
  return formatFields(fields.filter(([, value]) => value !== undefined && value !== ''));
}
