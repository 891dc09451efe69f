// What plugins require and nobody who was named provides: where the runtime itself brings a provider, it is loaded too.

import { listPlugins, type Places } from './find.ts';
import type { FoundPlugin } from './types.ts';

/**
 * Adds the built-in providers of required services that no plugin here provides, and theirs. What nobody provides is
 * left as it is: the graph of plugins says so when it is checked.
 */
export function withProviders(plugins: readonly FoundPlugin[], places: Places): readonly FoundPlugin[] {
  const all = [...plugins];
  let builtIn: readonly FoundPlugin[] | undefined;
  // Those that are added are met later in this very loop.
  for (const { manifest } of all) {
    for (const [service, { optional }] of Object.entries(manifest.requires)) {
      if (optional || all.some((plugin) => provides(plugin, service))) continue;
      builtIn ??= listPlugins(places).plugins.filter((plugin) => plugin.builtIn);
      const provider = builtIn.find((plugin) => provides(plugin, service));
      if (provider !== undefined && !isThere(all, provider)) all.push(provider);
    }
  }
  return all;
}

const provides = ({ manifest }: FoundPlugin, service: string): boolean => Object.hasOwn(manifest.provides, service);

/** Another plugin of that name was asked for, which is to stay the only one. */
const isThere = (all: readonly FoundPlugin[], { manifest }: FoundPlugin): boolean =>
  all.some((plugin) => plugin.manifest.plugin === manifest.plugin);
