// `runtime plugin disable`

import { isRuntimeError } from '@runtime/core';
import { findPlugin } from '@runtime/core/loader';
import { errors } from '../../errors.ts';
import { configOf } from '../app.ts';
import { withClientIfAny } from '../client.ts';
import type { CliCall } from '../command-table.ts';
import { removePlugins } from '../config/edit.ts';
import { userConfigFile } from '../config/files.ts';
import type { CliContext } from '../context.ts';
import { pluginPlaces } from '../places.ts';
import { printResult } from '../print.ts';

export async function run(context: CliContext, { args: [name = ''] }: CliCall): Promise<void> {
  const places = pluginPlaces(context.env, context.cwd);
  const means = (spec: string): boolean => {
    if (spec === name) return true;
    try {
      return findPlugin(spec, places).manifest.plugin === name;
    } catch {
      return false;
    }
  };
  const file = context.globals.config ?? userConfigFile(context.env);
  const stopped = await withClientIfAny(context, async (client) => {
    try {
      await client.request('plugin.disable', { name });
      return true;
    } catch (e) {
      if (isRuntimeError(e, 'CORE_ERR_PLUGIN_UNKNOWN')) return false;
      throw e;
    }
  });
  const removed = await removePlugins(file, means);
  const { config, origin } = await configOf(context);
  const elsewhere = config.plugins.some(means) ? origin(['plugins']) : undefined;
  if (!removed && stopped !== true) {
    const hint = elsewhere === undefined ? 'runtime plugin list shows what there is.' : `It is named by ${elsewhere}.`;
    throw errors.SDK_ERR_NOT_ENABLED({ details: { plugin: name, file, hint } });
  }
  const result = { plugin: name, file, removed, stopped: stopped ?? false, stillNamedBy: elsewhere ?? null };
  await printResult(context, result, () => {
    const inFile = removed ? `removed from ${file}` : `not in ${file}`;
    const now = stopped === undefined ? 'no runtime runs' : stopped ? 'stopped' : 'was not running';
    const warning =
      elsewhere === undefined ? '' : `\nthe next start loads it all the same: it is named by ${elsewhere}`;
    return `${name}: ${inFile}; ${now}${warning}`;
  });
}
