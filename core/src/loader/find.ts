// Finds plugins without running their code: by path, by plugin name or by npm package name.

import { existsSync, readdirSync, realpathSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { errors } from '../core-errors.ts';
import { didYouMean } from '../nearest.ts';
import { claimsToBePlugin, parseManifest, readPackageJson } from './manifest.ts';
import type { FoundPlugin, PluginOrigin } from './types.ts';

/** Where plugins are looked for, in this order. */
export interface Places {
  /** The user's project: its node_modules and those of the folders above it. */
  readonly cwd: string;
  /** The runtime's own: folders that hold one plugin per sub-folder, and package.json files whose dependencies count. */
  readonly runtime: { readonly folders: readonly string[]; readonly packages: readonly string[] };
  /** `$XDG_DATA_HOME/runtime/plugins`: one plugin per sub-folder, or installed with `npm install --prefix`. */
  readonly user: string;
}

/** Entries read per folder, and folders walked up; what is beyond is not seen. */
const MAX_ENTRIES = 5_000;
const MAX_UP = 32;

export interface PluginListing {
  /** Of several with the same name only the first counts, and only that is here. */
  readonly plugins: readonly FoundPlugin[];
  /** Manifests that could not be understood. */
  readonly problems: readonly { readonly directory: string; readonly error: unknown }[];
}

interface Candidate {
  readonly directory: string;
  readonly origin: PluginOrigin;
}

/** @throws CORE_ERR_PLUGIN_NOT_FOUND, CORE_ERR_MANIFEST */
export function findPlugin(spec: string, places: Places): FoundPlugin {
  const found = findPlugins([spec], places)[0];
  if (found === undefined) throw notFound(spec, places, []);
  return found;
}

/**
 * Finds all of them, in the order asked for, looking at each folder once.
 * @throws CORE_ERR_PLUGIN_NOT_FOUND, CORE_ERR_MANIFEST; an AggregateError when several fail
 */
export function findPlugins(specs: readonly string[], places: Places): readonly FoundPlugin[] {
  let listing: PluginListing | undefined;
  const failures: unknown[] = [];
  const found = specs.flatMap((spec): FoundPlugin[] => {
    try {
      if (isPath(spec, places.cwd)) return [atPath(resolve(places.cwd, spec), spec, places)];
      const direct = byPackageName(spec, places);
      if (direct !== undefined) return [direct];
      listing ??= listPlugins(places);
      const named = listing.plugins.find((p) => p.manifest.plugin === spec || p.manifest.package === spec);
      if (named !== undefined) return [named];
      throw notFound(spec, places, listing.plugins);
    } catch (e) {
      failures.push(e);
      return [];
    }
  });
  if (failures.length > 1) throw new AggregateError(failures, `${failures.length} plugins cannot be used`);
  if (failures.length === 1) throw failures[0];
  return found;
}

/** Everything that can be found by name. Reads manifests only. */
export function listPlugins(places: Places): PluginListing {
  const plugins = new Map<string, FoundPlugin>();
  const problems: { directory: string; error: unknown }[] = [];
  const seen = new Set<string>();
  for (const { directory, origin } of candidates(places)) {
    const real = realpath(directory);
    if (seen.has(real)) continue;
    seen.add(real);
    try {
      const plugin = read(real, origin);
      if (plugin !== undefined && !plugins.has(plugin.manifest.plugin)) plugins.set(plugin.manifest.plugin, plugin);
    } catch (error) {
      problems.push({ directory: real, error });
    }
  }
  return { plugins: [...plugins.values()], problems };
}

function isPath(spec: string, cwd: string): boolean {
  if (spec.startsWith('.') || isAbsolute(spec)) return true;
  return spec.includes(sep) && existsSync(resolve(cwd, spec));
}

function atPath(path: string, spec: string, places: Places): FoundPlugin {
  const directory = realpath(path.endsWith(`${sep}package.json`) ? dirname(path) : path);
  const file = join(directory, 'package.json');
  const text = readPackageJson(file);
  if (text === undefined) {
    const why = existsSync(directory)
      ? `${directory}, which has no package.json`
      : `${directory}, which does not exist`;
    throw errors.CORE_ERR_PLUGIN_NOT_FOUND({ details: { plugin: spec, places: why } });
  }
  const builtIn = [...runtimeCandidates(places)].some((c) => realpath(c.directory) === directory);
  return make(directory, text, file, builtIn ? 'runtime' : 'path');
}

/** Without reading anything else: `node_modules/<spec>`, upwards from the project, and in the user's folder. */
function byPackageName(spec: string, places: Places): FoundPlugin | undefined {
  if (!/^(?:@[\w.-]+\/)?[\w.-]+$/.test(spec)) return undefined;
  for (const folder of [...nodeModulesAbove(places.cwd), join(places.user, 'node_modules')]) {
    const directory = realpath(join(folder, spec));
    const origin = folder.startsWith(places.user + sep) ? 'user' : originOf(directory, places);
    const plugin = read(directory, origin);
    if (plugin !== undefined) return plugin;
  }
  return undefined;
}

/** A plugin of the runtime's own checkout stays that, also when it is reached through a link in node_modules. */
function originOf(directory: string, places: Places): PluginOrigin {
  return places.runtime.folders.some((folder) => directory.startsWith(realpath(folder) + sep)) ? 'runtime' : 'project';
}

function* candidates(places: Places): Generator<Candidate> {
  for (const folder of nodeModulesAbove(places.cwd)) {
    for (const directory of packagesIn(folder)) {
      yield { directory, origin: originOf(realpath(directory), places) };
    }
  }
  yield* runtimeCandidates(places);
  for (const directory of packagesIn(join(places.user, 'node_modules'))) yield { directory, origin: 'user' };
  for (const directory of packagesIn(places.user)) yield { directory, origin: 'user' };
}

function* runtimeCandidates(places: Places): Generator<Candidate> {
  for (const folder of places.runtime.folders) {
    for (const directory of packagesIn(folder)) yield { directory, origin: 'runtime' };
  }
  for (const file of places.runtime.packages) {
    for (const name of dependenciesOf(file)) {
      const folder = nodeModulesAbove(dirname(file)).find((f) => existsSync(join(f, name)));
      if (folder !== undefined) yield { directory: join(folder, name), origin: 'runtime' };
    }
  }
}

function dependenciesOf(file: string): readonly string[] {
  const text = readPackageJson(file);
  if (text === undefined) return [];
  const { dependencies } = JSON.parse(text) as { dependencies?: unknown };
  return typeof dependencies === 'object' && dependencies !== null
    ? Object.keys(dependencies).slice(0, MAX_ENTRIES)
    : [];
}

function nodeModulesAbove(start: string): string[] {
  const folders: string[] = [];
  let folder = resolve(start);
  for (let up = 0; up < MAX_UP; up++) {
    folders.push(join(folder, 'node_modules'));
    const parent = dirname(folder);
    if (parent === folder) break;
    folder = parent;
  }
  return folders;
}

function packagesIn(folder: string): string[] {
  return entries(folder).flatMap((name) =>
    name.startsWith('@') ? entries(join(folder, name)).map((inner) => join(folder, name, inner)) : [join(folder, name)],
  );
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => !name.startsWith('.') && name !== 'node_modules')
      .slice(0, MAX_ENTRIES);
  } catch {
    return [];
  }
}

function realpath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

function read(directory: string, origin: PluginOrigin): FoundPlugin | undefined {
  const file = join(directory, 'package.json');
  const text = readPackageJson(file);
  return text !== undefined && claimsToBePlugin(text) ? make(directory, text, file, origin) : undefined;
}

function make(directory: string, text: string, file: string, origin: PluginOrigin): FoundPlugin {
  const { manifest, source, compiled } = parseManifest(text, file);
  const entry = chooseEntry(directory, source, compiled);
  return { manifest, directory, entry, origin, builtIn: origin === 'runtime' };
}

/** Node strips types, but never inside node_modules, https://nodejs.org/api/typescript.html#type-stripping-in-dependencies */
export function nodeCanRun(file: string): boolean {
  return !/\.[cm]?tsx?$/.test(file) || (!file.includes(`${sep}node_modules${sep}`) && /\.[cm]?ts$/.test(file));
}

function chooseEntry(directory: string, source: string | undefined, compiled: string | undefined): string {
  if (source !== undefined) {
    const file = join(directory, source);
    if (nodeCanRun(file) && existsSync(file)) return file;
  }
  return join(directory, compiled ?? source ?? './index.js');
}

function notFound(spec: string, places: Places, known: readonly FoundPlugin[]): Error {
  const names = known.flatMap((p) => [p.manifest.plugin, p.manifest.package]);
  const looked = [
    `node_modules of ${places.cwd} and above`,
    ...places.runtime.folders,
    ...(places.runtime.packages.length > 0 ? ["the runtime's dependencies"] : []),
    places.user,
  ];
  return errors.CORE_ERR_PLUGIN_NOT_FOUND({
    details: { plugin: spec, places: looked.join(', ') + didYouMean(spec, names) },
  });
}
