// The development loader: plugins are loaded from their sources through Vite, and loaded again when a file changes.

import { dirname, extname, join, sep } from 'node:path';
import { coreErrorTable, defineErrors, type FoundPlugin, type LoadedPlugin, type PluginLoader } from '@runtime/core';
import { checkPlugin, createLoader, findPlugin, matchManifest } from '@runtime/core/loader';
import { type FileHashes, hashFile, type ModuleHost, useModuleHost } from './module-host.ts';
import { TreeWatcher } from './tree-watcher.ts';

const coreErrors = defineErrors(coreErrorTable);

export interface DevLoaderOptions {
  /** How long files must be quiet before a change is told, in ms; default 50. */
  readonly debounceMs?: number;
  /** Deadline for the top-level code of a plugin, in ms; default 30,000. */
  readonly importMs?: number;
}

/** What appears may be what a failed import looked for. */
const MODULE_EXTENSIONS: ReadonlySet<string> = new Set([
  '.ts',
  '.mts',
  '.cts',
  '.tsx',
  '.js',
  '.mjs',
  '.cjs',
  '.jsx',
  '.json',
]);

type OnChange = (found: FoundPlugin, files: readonly string[]) => void;

/** A plugin as it was last tried. */
interface Attempt {
  readonly found: FoundPlugin;
  readonly files: FileHashes;
  readonly failed: boolean;
}

/**
 * Plugins inside node_modules are packages like any other: they are loaded as in production, and not watched.
 * Needs the package `vite`: the first load is rejected with SDK_ERR_VITE_MISSING when there is none.
 */
export function createDevLoader(options: DevLoaderOptions = {}): PluginLoader & Required<Pick<PluginLoader, 'watch'>> {
  return new DevLoader(options);
}

class DevLoader implements PluginLoader {
  readonly #debounceMs: number;
  readonly #importMs: number;
  /** For plugins in node_modules; it also keeps packages that Node loads itself from bringing a second core. */
  readonly #production: PluginLoader = createLoader({ own: { '@runtime/sdk': import.meta.url } });
  readonly #attempts: Map<string, Attempt> = new Map();
  readonly #listeners: Set<OnChange> = new Set();
  readonly #touched: Set<string> = new Set();
  #host: ReturnType<typeof useModuleHost> | undefined;
  #watcher: TreeWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor({ debounceMs = 50, importMs = 30_000 }: DevLoaderOptions) {
    this.#debounceMs = debounceMs;
    this.#importMs = importMs;
  }

  async load(found: FoundPlugin): Promise<LoadedPlugin> {
    if (found.entry.includes(`${sep}node_modules${sep}`)) return this.#production.load(found);
    this.#host ??= useModuleHost();
    const { host } = await this.#host;
    try {
      const definition = await this.#load(host, refresh(found));
      return { definition, files: this.#remember(host, found, false) };
    } catch (error) {
      this.#remember(host, found, true);
      throw error;
    }
  }

  watch(onChange: OnChange): Disposable {
    const listener: OnChange = (found, files) => onChange(found, files);
    this.#listeners.add(listener);
    this.#watcher ??= new TreeWatcher((file) => this.#touch(file));
    for (const attempt of this.#attempts.values()) this.#watchFiles(attempt);
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(listener);
        if (this.#listeners.size === 0) this.#stopWatching();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners.clear();
    this.#stopWatching();
    await this.#production[Symbol.asyncDispose]();
    const host = await this.#host?.catch(() => undefined);
    this.#host = undefined;
    await host?.[Symbol.asyncDispose]();
  }

  async #load(host: ModuleHost, found: FoundPlugin): Promise<LoadedPlugin['definition']> {
    const { manifest, entry } = found;
    const { plugin } = manifest;
    let exports: Readonly<Record<string, unknown>>;
    try {
      exports = await host.import(entry, this.#importMs);
    } catch (cause) {
      throw coreErrors.CORE_ERR_PLUGIN_LOAD({ plugin, cause, details: { plugin, entry } });
    }
    return matchManifest(checkPlugin(exports.default, entry), manifest);
  }

  #remember(host: ModuleHost, found: FoundPlugin, failed: boolean): readonly string[] {
    const manifest = join(found.directory, 'package.json');
    const files = new Map([...host.filesOf(found.entry), [manifest, hashFile(manifest)] as const]);
    const attempt = { found, files, failed };
    this.#attempts.set(found.manifest.plugin, attempt);
    this.#watchFiles(attempt);
    return [...files.keys()];
  }

  #watchFiles({ found, files }: Attempt): void {
    if (this.#watcher === undefined) return;
    this.#watcher.addTree(found.directory);
    const inside = found.directory + sep;
    for (const file of files.keys()) {
      if (!file.startsWith(inside)) this.#watcher.addFolder(dirname(file));
    }
  }

  #touch(file: string): void {
    this.#touched.add(file);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#tell(), this.#debounceMs);
  }

  #tell(): void {
    const touched = [...this.#touched];
    this.#touched.clear();
    const hashes = new Map<string, string>();
    const hashOf = (file: string): string => {
      const known = hashes.get(file) ?? hashFile(file);
      hashes.set(file, known);
      return known;
    };
    for (const attempt of this.#attempts.values()) {
      const changed = touched.filter((file) => concerns(attempt, file, hashOf));
      if (changed.length === 0) continue;
      // Told once: the next change is one against this state, whether or not somebody loads it meanwhile.
      const files = new Map([...attempt.files, ...changed.map((file) => [file, hashOf(file)] as const)]);
      this.#attempts.set(attempt.found.manifest.plugin, { ...attempt, files });
      for (const listener of this.#listeners) listener(attempt.found, changed);
    }
  }

  #stopWatching(): void {
    clearTimeout(this.#timer);
    this.#touched.clear();
    this.#watcher?.[Symbol.dispose]();
    this.#watcher = undefined;
  }
}

function concerns({ found, files, failed }: Attempt, file: string, hashOf: (file: string) => string): boolean {
  const loaded = files.get(file);
  if (loaded !== undefined) return loaded !== hashOf(file);
  return (
    failed && file.startsWith(found.directory + sep) && MODULE_EXTENSIONS.has(extname(file)) && hashOf(file) !== ''
  );
}

/** With the manifest as it is now. @throws CORE_ERR_MANIFEST */
function refresh(found: FoundPlugin): FoundPlugin {
  const nowhere = { cwd: found.directory, runtime: { folders: [], packages: [] }, user: found.directory };
  const { manifest, entry } = findPlugin(found.directory, nowhere);
  return { ...found, manifest, entry };
}
