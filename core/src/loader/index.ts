// Finding and loading plugin code: for programs that are a runtime, such as the `runtime` command.

export { findPlugin, findPlugins, listPlugins, nodeCanRun, type Places, type PluginListing } from './find.ts';
export {
  claimsToBePlugin,
  MANIFEST_LIMIT,
  PLUGIN_NAME,
  type PluginPackage,
  parseManifest,
  readPackageJson,
} from './manifest.ts';
export { checkManifestGraph } from './manifest-graph.ts';
export { createLoader, type LoaderOptions } from './production-loader.ts';
export { withProviders } from './providers.ts';
export type * from './types.ts';
export { checkPlugin, matchManifest } from './validate.ts';
