// `runtime plugin enable`

import { resolve } from 'node:path';
import { isRuntimeError } from '@runtime/core';
import { findPlugin } from '@runtime/core/loader';
import { withClientIfAny } from '../client.ts';
import type { CliCall } from '../command-table.ts';
import { addPlugin } from '../config/edit.ts';
import { userConfigFile } from '../config/files.ts';
import type { CliContext } from '../context.ts';
import { pluginPlaces } from '../places.ts';
import { printResult } from '../print.ts';

export async function run(context: CliContext, { args: [spec = ''] }: CliCall): Promise<void> {
  // Refuses a name with a mistake before anything is written.
  const found = findPlugin(spec, pluginPlaces(context.env, context.cwd));
  const { plugin: name } = found.manifest;
  const stored = found.origin === 'path' ? resolve(context.cwd, spec) : spec;
  const file = context.globals.config ?? userConfigFile(context.env);
  const started = await withClientIfAny(context, async (client) => {
    try {
      await client.request('plugin.enable', { spec: stored });
      return true;
    } catch (e) {
      if (isRuntimeError(e, 'CORE_ERR_PLUGIN_DUPLICATE')) return false;
      throw e;
    }
  });
  const added = await addPlugin(file, stored);
  await printResult(context, { plugin: name, file, added, started: started ?? false }, () => {
    const inFile = added ? `added to ${file}` : `already in ${file}`;
    const now = started === undefined ? 'no runtime runs' : started ? 'started' : 'already running';
    return `${name}: ${inFile}; ${now}`;
  });
}
