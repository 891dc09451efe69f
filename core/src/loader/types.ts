// How plugin code is found and loaded. Finding reads manifests only and runs nothing.

import type { CommandSpec } from '../commands.ts';
import type { AnyPlugin } from '../plugin.ts';

export interface ManifestRequirement {
  readonly range: string;
  readonly optional: boolean;
}

/** The `runtime` key of a plugin's package.json, with name, version and description of the package around it. */
export interface PluginManifest {
  /** Name of the plugin, kebab-case. */
  readonly plugin: string;
  readonly package: string;
  readonly version: string;
  readonly description: string;
  /** Semver range of the core. */
  readonly core: string;
  /** Service id → contract version. */
  readonly provides: Readonly<Record<string, string>>;
  /** Service id → what is required of it. */
  readonly requires: Readonly<Record<string, ManifestRequirement>>;
  /** Names and summaries, so that help and completion work without a runtime. */
  readonly commands: readonly Pick<CommandSpec, 'name' | 'summary' | 'keeps' | 'main'>[];
}

export type PluginOrigin = 'path' | 'project' | 'runtime' | 'user';

export interface FoundPlugin {
  readonly manifest: PluginManifest;
  /** Absolute folder of its package.json. */
  readonly directory: string;
  /** Absolute path of the module to load: the source when it is there and Node can run it, else the compiled code. */
  readonly entry: string;
  readonly origin: PluginOrigin;
  /** Ships with the runtime, so that its core range need not fix a major. */
  readonly builtIn: boolean;
}

export interface LoadedPlugin {
  readonly definition: AnyPlugin;
  /** Files that were read for it, so that a change in one can be told to concern it. */
  readonly files: readonly string[];
}

export interface PluginLoader extends AsyncDisposable {
  /** Runs the module again if it changed since. @throws CORE_ERR_PLUGIN_LOAD, CORE_ERR_PLUGIN_INVALID, CORE_ERR_MANIFEST_DRIFT */
  load(found: FoundPlugin): Promise<LoadedPlugin>;
  /** Development only: calls back once per burst of changes, with the plugin they concern. */
  watch?(onChange: (found: FoundPlugin, files: readonly string[]) => void): Disposable;
}
