// Commands of the plugins that are to be loaded, as their manifests have them: no code of a plugin runs.

import { type FoundPlugin, findPlugins } from '@runtime/core/loader';
import { configOf } from './app.ts';
import type { CliContext } from './context.ts';
import { pluginPlaces } from './places.ts';

/** @throws what loadConfig() and findPlugins() do */
export async function manifestCommands(context: CliContext): Promise<FoundPlugin['manifest']['commands']> {
  const { config } = await configOf(context);
  const found = findPlugins(config.plugins, pluginPlaces(context.env, context.cwd));
  return found.flatMap(({ manifest }) => manifest.commands);
}
