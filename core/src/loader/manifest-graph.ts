// The graph of plugins as their manifests tell it, before any code of theirs is loaded.

import { checkGraph, type Graph } from '../graph.ts';
import { type AnyPlugin, PLUGIN_TYPE } from '../plugin.ts';
import { defineService } from '../tokens.ts';
import type { FoundPlugin, PluginManifest } from './types.ts';

/** As checkGraph() on the code, as long as code and manifest agree (CORE_ERR_MANIFEST_DRIFT tells when they do not). */
export function checkManifestGraph(
  plugins: readonly FoundPlugin[],
  coreVersion: string,
  winners: Readonly<Record<string, string>> = {},
): Graph {
  const nodes = plugins.map(({ manifest, builtIn }) => ({ definition: definitionOf(manifest), trusted: builtIn }));
  return checkGraph(nodes, coreVersion, winners);
}

function definitionOf({ plugin, version, core, provides, requires }: PluginManifest): AnyPlugin {
  return {
    $$type: PLUGIN_TYPE,
    name: plugin,
    version,
    core,
    provides: Object.entries(provides).map(([id, v]) => defineService(id, { version: v })),
    requires: Object.fromEntries(
      Object.entries(requires).map(([id, { range, optional }]) => [
        id,
        { optional, range, token: defineService(id, { version: '0.0.0' }) },
      ]),
    ),
    setup() {},
  };
}
