// `runtime plugin graph`

import { CORE_VERSION, type FoundPlugin } from '@runtime/core';
import type { PluginGraph } from '@runtime/core/control';
import { checkManifestGraph, findPlugins, withProviders } from '@runtime/core/loader';
import { errors } from '../../errors.ts';
import { configOf } from '../app.ts';
import { withClientIfAny } from '../client.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { errorText, exitCodeOf } from '../error-text.ts';
import { pluginPlaces } from '../places.ts';
import { printResult } from '../print.ts';

export async function run(context: CliContext, { options }: CliCall): Promise<number> {
  const fromRuntime =
    context.globals.plugins === undefined
      ? await withClientIfAny(context, (client) => client.request('plugin.graph', {}))
      : undefined;
  const { graph, problems } =
    fromRuntime === undefined ? await ofManifests(context) : { graph: fromRuntime, problems: [] };
  if (options.dot === true) await context.terminal.out(`${toDot(graph)}\n`);
  else await printResult(context, graph, () => toTree(graph));
  for (const problem of problems) {
    await context.terminal.err(`${errorText(problem, { paint: context.terminal.paintErr })}\n`);
  }
  return Math.max(0, ...problems.map(exitCodeOf));
}

async function ofManifests(context: CliContext): Promise<{ graph: PluginGraph; problems: readonly Error[] }> {
  const { config } = await configOf(context);
  if (config.plugins.length === 0) throw errors.SDK_ERR_NO_PLUGINS();
  const places = pluginPlaces(context.env, context.cwd);
  const plugins: readonly FoundPlugin[] = withProviders(findPlugins(config.plugins, places), places);
  const { waves, providers, problems } = checkManifestGraph(plugins, CORE_VERSION, config.services);
  const edges = plugins.flatMap(({ manifest }) =>
    Object.entries(manifest.requires).map(([service, { range, optional }]) => ({
      plugin: manifest.plugin,
      service,
      range,
      optional,
      provider: providers.get(service),
    })),
  );
  // In a circle nobody is first.
  const names = waves.length > 0 ? waves : [plugins.map(({ manifest }) => manifest.plugin)];
  return { graph: { waves: names, edges }, problems };
}

export function toTree({ waves, edges }: PluginGraph): string {
  const lines = waves.flatMap((wave, i) => {
    const plugins = wave.flatMap((plugin) => {
      const own = edges.filter((edge) => edge.plugin === plugin);
      const needs = own.map((edge, n) => {
        const branch = n === own.length - 1 ? '└─' : '├─';
        const optional = edge.optional ? ' (optional)' : '';
        return `     ${branch} ${edge.service} ${edge.range}${optional} from ${edge.provider ?? 'nobody'}`;
      });
      return [`   ${plugin}`, ...needs];
    });
    return [`${i + 1}.`, ...plugins];
  });
  return lines.join('\n');
}

/** https://graphviz.org/doc/info/lang.html */
export function toDot({ waves, edges }: PluginGraph): string {
  const id = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
  const nodes = waves.flat().map((name) => `  ${id(name)};`);
  const arrows = edges
    .filter((edge) => edge.provider !== undefined)
    .map(({ plugin, provider, service, optional }) => {
      const style = optional ? ', style=dashed' : '';
      return `  ${id(plugin)} -> ${id(provider ?? '')} [label=${id(service)}${style}];`;
    });
  return ['digraph plugins {', '  rankdir=LR;', ...nodes, ...arrows, '}'].join('\n');
}
