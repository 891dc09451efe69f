// One core and one sdk per process, and new copies of a plugin's modules after a change: both through Node's
// synchronous resolve hooks, https://nodejs.org/api/module.html#synchronous-hooks

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Query of the URLs of a reloaded copy: it travels from the entry to all that the entry imports relatively. */
const COPY = 'runtime-copy';
/** Files of one plugin that are watched for changes; those beyond are loaded, but a change in them goes unseen. */
const MAX_FILES = 5_000;

/** The modules of one plugin that this process has imported. */
interface PluginModules {
  /** Ends with a slash. */
  readonly root: string;
  /** File → hash of what was read. */
  readonly hashes: Map<string, string>;
  /** 0 for the first. */
  copy: number;
  /** The last import failed. Node remembers that, so the next try needs new URLs whether or not a file changed. */
  failed: boolean;
}

/** For the process, as Node's module cache is. */
const plugins = new Map<string, PluginModules>();
/** Package name → URL of a module of the running runtime from which the name resolves to its own copy. */
const anchors = new Map<string, string>();
let users = 0;
let hooks: { deregister(): void } | undefined;

/** Takes hold of the hooks until disposed. @param own package name → URL of a module inside or beside that package */
export function useOwnModules(own: Readonly<Record<string, string>>): Disposable {
  for (const [name, url] of Object.entries(own)) anchors.set(name, url);
  users += 1;
  hooks ??= registerHooks({
    resolve(specifier, context, nextResolve) {
      const anchor = anchorOf(specifier);
      if (anchor !== undefined) return nextResolve(specifier, { ...context, parentURL: anchor });
      const result = nextResolve(specifier, context);
      const plugin = pluginOf(result.url);
      if (plugin === undefined) return result;
      remember(plugin, result.url);
      const copy = copyOf(context.parentURL);
      // require() knows no URLs: CommonJS modules stay as they were first loaded.
      const propagates =
        copy !== undefined && pluginOf(context.parentURL) === plugin && !context.conditions.includes('require');
      return propagates ? { ...result, url: withCopy(result.url, copy) } : result;
    },
  });
  let released = false;
  return {
    [Symbol.dispose]: () => {
      if (released) return;
      released = true;
      users -= 1;
      if (users > 0) return;
      hooks?.deregister();
      hooks = undefined;
    },
  };
}

/** What useOwnModules() was told, for another process that is to do the same. */
export function ownModules(): Readonly<Record<string, string>> {
  return Object.fromEntries(anchors);
}

/** The URL to import for the entry of a plugin: one that Node has not seen yet if a file changed since the last time. */
export function entryUrl(directory: string, entry: string): string {
  const url = pathToFileURL(entry).href;
  const known = plugins.get(directory);
  if (known === undefined) {
    plugins.set(directory, { root: directory + sep, hashes: new Map(), copy: 0, failed: false });
    return url;
  }
  if (known.failed || changed(known)) {
    known.copy += 1;
    known.failed = false;
    known.hashes.clear();
  }
  return known.copy === 0 ? url : withCopy(url, String(known.copy));
}

/** The import of what entryUrl() gave threw. */
export function importFailed(directory: string): void {
  const known = plugins.get(directory);
  if (known !== undefined) known.failed = true;
}

/** Files that were imported for the plugin. */
export function filesOf(directory: string): readonly string[] {
  return [...(plugins.get(directory)?.hashes.keys() ?? [])];
}

function anchorOf(specifier: string): string | undefined {
  for (const [name, url] of anchors) {
    if (specifier === name || specifier.startsWith(`${name}/`)) return url;
  }
  return undefined;
}

/** Files in node_modules of a plugin are other packages, which a reload of the plugin does not touch. */
function pluginOf(url: string | undefined): PluginModules | undefined {
  if (plugins.size === 0 || url === undefined || !url.startsWith('file:')) return undefined;
  const path = fileURLToPath(url);
  let inner: PluginModules | undefined;
  for (const plugin of plugins.values()) {
    const { root } = plugin;
    if (!path.startsWith(root) || path.includes(`${sep}node_modules${sep}`, root.length - 1)) continue;
    if (inner === undefined || root.length > inner.root.length) inner = plugin;
  }
  return inner;
}

function copyOf(url: string | undefined): string | undefined {
  return url?.includes(`?${COPY}=`) ? (new URL(url).searchParams.get(COPY) ?? undefined) : undefined;
}

function withCopy(url: string, copy: string): string {
  const copied = new URL(url);
  copied.searchParams.set(COPY, copy);
  return copied.href;
}

function remember(plugin: PluginModules, url: string): void {
  const file = fileURLToPath(url);
  if (plugin.hashes.size >= MAX_FILES || plugin.hashes.has(file)) return;
  plugin.hashes.set(file, hashOf(file));
}

function changed(plugin: PluginModules): boolean {
  for (const [file, hash] of plugin.hashes) {
    if (hashOf(file) !== hash) return true;
  }
  return false;
}

/** Of the content, so that touching a file changes nothing; '' when it is gone. */
function hashOf(file: string): string {
  try {
    return createHash('sha256').update(readFileSync(file)).digest('base64');
  } catch {
    return '';
  }
}
