// Loads plugins with Node's own import(). No bundler, no transpiler; the development loader is in @runtime/sdk.

import { sep } from 'node:path';
import { errors } from '../core-errors.ts';
import { nodeCanRun } from './find.ts';
import { entryUrl, filesOf, importFailed, useOwnModules } from './own-modules.ts';
import type { FoundPlugin, LoadedPlugin, PluginLoader } from './types.ts';
import { checkPlugin, matchManifest } from './validate.ts';

export interface LoaderOptions {
  /**
   * Package name → URL of a module from which that name resolves to the copy this process is to use, whoever imports
   * it. `@runtime/core` is always this core; the `runtime` command adds `@runtime/sdk`.
   */
  readonly own?: Readonly<Record<string, string>>;
}

/**
 * The loader for everyday use. A plugin whose files changed since it was last loaded is imported again, under new URLs.
 * Node never frees a module, so that each such reload leaves the old code in memory: meant for a new version now and
 * then. The development loader frees it. CommonJS modules are not imported again.
 */
export function createLoader(options: LoaderOptions = {}): PluginLoader {
  const held = useOwnModules({ '@runtime/core': import.meta.url, ...options.own });
  return {
    load,
    async [Symbol.asyncDispose]() {
      held[Symbol.dispose]();
    },
  };
}

async function load(found: FoundPlugin): Promise<LoadedPlugin> {
  const { manifest, directory, entry } = found;
  const { plugin } = manifest;
  const details = { plugin, entry };
  if (!nodeCanRun(entry)) {
    const cause = new Error(
      entry.includes(`${sep}node_modules${sep}`)
        ? 'Node does not run TypeScript inside node_modules; the package must name compiled code in "exports"'
        : 'Node does not run .tsx files; compile them first',
    );
    throw errors.CORE_ERR_PLUGIN_LOAD({ plugin, cause, details });
  }
  let module: { readonly default?: unknown };
  try {
    module = (await import(entryUrl(directory, entry))) as { readonly default?: unknown };
  } catch (cause) {
    importFailed(directory);
    throw errors.CORE_ERR_PLUGIN_LOAD({ plugin, cause, details });
  }
  const definition = matchManifest(checkPlugin(module.default, entry), manifest);
  return { definition, files: filesOf(directory) };
}
