// `runtime config check`

import {
  CORE_VERSION,
  coreErrorTable,
  defineErrors,
  explainStandardIssues,
  type FoundPlugin,
  issuesToText,
  type Schema,
} from '@runtime/core';
import { checkManifestGraph, createLoader, findPlugin } from '@runtime/core/loader';
import { errors } from '../../errors.ts';
import { configOf } from '../app.ts';
import { severalProblems } from '../config/layer.ts';
import type { LoadedConfig } from '../config/layers.ts';
import type { CliContext } from '../context.ts';
import { pluginPlaces } from '../places.ts';
import { printResult } from '../print.ts';

const { CORE_ERR_PLUGIN_UNKNOWN } = defineErrors(coreErrorTable);

export async function run(context: CliContext): Promise<void> {
  const loaded = await configOf(context);
  const { config, origin, files } = loaded;
  const places = pluginPlaces(context.env, context.cwd);
  const problems: Error[] = [];
  const attempt = async (work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (e) {
      problems.push(e as Error);
    }
  };
  const plugins: FoundPlugin[] = [];
  for (const spec of config.plugins) await attempt(() => plugins.push(findPlugin(spec, places)));
  const names = plugins.map(({ manifest }) => manifest.plugin);
  for (const name of Object.keys(config.settings)) {
    if (names.includes(name)) continue;
    const nearest = ` among those to be loaded; its settings come from ${origin(['settings', name])}`;
    problems.push(CORE_ERR_PLUGIN_UNKNOWN({ details: { plugin: name, nearest } }));
  }
  problems.push(...checkManifestGraph(plugins, CORE_VERSION, config.services).problems);
  await using loader = createLoader({ own: { '@runtime/sdk': import.meta.url } });
  for (const found of plugins) {
    await attempt(async () => {
      const { definition } = await loader.load(found);
      problems.push(...(await settingProblems(definition.name, definition.config, loaded)));
    });
  }
  if (problems.length > 0) throw severalProblems(problems);
  await printResult(context, { ok: true, files, plugins: names }, () => {
    const read = files.length === 0 ? 'no configuration file' : files.join(', ');
    return `ok: ${read}; plugins: ${names.join(', ') || 'none'}`;
  });
}

/** With the line of each value that the plugin's own schema refuses. */
async function settingProblems(
  plugin: string,
  schema: Schema<unknown> | undefined,
  { config, origin }: LoadedConfig,
): Promise<readonly Error[]> {
  const settings = config.settings[plugin]?.config;
  if (schema === undefined) {
    if (settings === undefined) return [];
    const details = { where: origin(['settings', plugin, 'config']), why: `plugin ${plugin} takes no settings` };
    return [errors.SDK_ERR_CONFIG({ details })];
  }
  const result = await schema['~standard'].validate(settings ?? {});
  return explainStandardIssues(schema, result.issues ?? []).map((issue) => {
    const path = ['settings', plugin, 'config', ...issue.path];
    return errors.SDK_ERR_CONFIG({ details: { where: origin(path), why: issuesToText([{ ...issue, path }]) } });
  });
}
