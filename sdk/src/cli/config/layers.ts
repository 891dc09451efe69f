// The configuration: defaults, the user's file, the project's file, the environment, the command line. Later ones win.

import { existsSync } from 'node:fs';
import { LOG_LEVELS } from '@runtime/core';
import { errors } from '../../errors.ts';
import type { Environment } from '../xdg.ts';
import { projectConfigFile, readLayer, userConfigFile } from './files.ts';
import { checkLayer, type Layer, type Path } from './layer.ts';
import { CONFIG_DEFAULTS, type RuntimeConfig } from './schema.ts';

/** Options of the command line that are configuration. */
export interface ConfigFlags {
  readonly plugins?: readonly string[];
  /** Read instead of the user's and the project's file. */
  readonly config?: string;
  readonly logLevel?: string;
  /** `<plugin>=<level>` */
  readonly isolation?: readonly string[];
  /** `<path>=<value>` */
  readonly set?: readonly string[];
}

export interface LoadedConfig {
  readonly config: RuntimeConfig;
  /** Where a value comes from: `file:line`, a variable, an option, or `default`. */
  origin(path: Path): string;
  /** Every value that is not an object, with its path. */
  leaves(): readonly { readonly path: Path; readonly value: unknown; readonly origin: string }[];
  readonly files: readonly string[];
}

/** Environment variable → path of the value. */
export const CONFIG_VARIABLES: Readonly<Record<string, { readonly path: Path; readonly summary: string }>> = {
  RUNTIME_PLUGINS: { path: ['plugins'], summary: 'what to load, separated by commas' },
  RUNTIME_LOG_LEVEL: { path: ['log', 'level'], summary: LOG_LEVELS.join(', ') },
  RUNTIME_ON_FAILURE: { path: ['onFailure'], summary: 'abort or continue' },
  RUNTIME_TRACE_HISTORY: { path: ['trace', 'history'], summary: 'records kept' },
  RUNTIME_EVENTS_HISTORY: { path: ['events', 'history'], summary: 'events kept per topic' },
  RUNTIME_EVENTS_LISTENER_LIMIT: { path: ['events', 'listenerLimit'], summary: 'listeners per topic' },
};

/** @throws SDK_ERR_CONFIG, SDK_ERR_CONFIG_MANY, SDK_ERR_CONFIG_READ, SDK_ERR_CONFIG_UNSAFE */
export async function loadConfig(env: Environment, cwd: string, flags: ConfigFlags): Promise<LoadedConfig> {
  const files = configFiles(env, cwd, flags);
  const layers = [
    { value: CONFIG_DEFAULTS, origin: () => 'default' },
    ...(await Promise.all(files.map(readLayer))),
    environmentLayer(env),
    ...flagLayers(flags),
  ];
  const merged: Tree = new Map();
  for (const { value, origin } of layers) mergeInto(merged, value, [], origin);
  return {
    config: toObject(merged) as RuntimeConfig,
    origin: (path) => originAt(merged, path),
    leaves: () => leavesOf(merged, []),
    files,
  };
}

export function configFiles(env: Environment, cwd: string, flags: Pick<ConfigFlags, 'config'>): readonly string[] {
  const named = flags.config ?? (env.RUNTIME_CONFIG || undefined);
  if (named !== undefined) return [named];
  const user = userConfigFile(env);
  const project = projectConfigFile(cwd);
  return [...(existsSync(user) ? [user] : []), ...(project === undefined ? [] : [project])];
}

function environmentLayer(env: Environment): Layer {
  const found = Object.entries(CONFIG_VARIABLES).flatMap(([variable, { path }]) => {
    const text = env[variable];
    return text === undefined || text === '' ? [] : [{ variable, path, text }];
  });
  const value = {};
  for (const { path, text } of found) setAt(value, path, path[0] === 'plugins' ? splitList(text) : scalar(text));
  const origin = (path: Path): string => {
    const source = found.find((f) => startsWith(path, f.path) || startsWith(f.path, path));
    return `environment variable ${source?.variable ?? ''}`;
  };
  return checkLayer({ value, where: origin, origin });
}

/** Each option is a layer of its own, so that errors and origins name it. */
function flagLayers(flags: ConfigFlags): readonly Layer[] {
  const one = (name: string, path: Path, value: unknown): Layer => {
    const layer = {};
    setAt(layer, path, value);
    return checkLayer({ value: layer, where: () => name, origin: () => name });
  };
  const pair = (name: string, text: string): readonly [string, string] => {
    const at = text.indexOf('=');
    if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
    const why = `"${text}" is not of the form ${name === '--set' ? 'path=value' : 'plugin=level'}`;
    throw errors.SDK_ERR_CONFIG({ details: { where: name, why } });
  };
  return [
    ...(flags.plugins === undefined ? [] : [one('--plugins', ['plugins'], flags.plugins)]),
    ...(flags.logLevel === undefined ? [] : [one('--log-level', ['log', 'level'], flags.logLevel)]),
    ...(flags.isolation ?? []).map((text) => {
      const [plugin, level] = pair('--isolation', text);
      return one(`--isolation ${text}`, ['settings', plugin, 'isolation'], level);
    }),
    ...(flags.set ?? []).map((text) => {
      const [path, value] = pair('--set', text);
      return one(`--set ${text}`, path.split('.'), scalar(value));
    }),
  ];
}

/** JSON, or else text. */
function scalar(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export function splitList(text: string): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function startsWith(path: Path, prefix: Path): boolean {
  return prefix.every((part, i) => String(path[i]) === String(part));
}

function setAt(target: Record<string, unknown>, path: Path, value: unknown): void {
  let at = target;
  for (const part of path.slice(0, -1)) {
    const inner = Object.hasOwn(at, part) ? at[part] : undefined;
    const next = typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>) : {};
    define(at, String(part), next);
    at = next;
  }
  define(at, String(path.at(-1) ?? ''), value);
}

/** Not an assignment: `__proto__` is a key like any other. */
function define(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, writable: true, configurable: true });
}

interface Leaf {
  readonly value: unknown;
  readonly origin: string;
}
type Tree = Map<string, Tree | Leaf>;

function mergeInto(tree: Tree, value: object, path: Path, origin: (path: Path) => string): void {
  for (const [key, inner] of Object.entries(value)) {
    const at = [...path, key];
    if (!isPlainObject(inner)) {
      tree.set(key, { value: inner, origin: origin(at) });
      continue;
    }
    const existing = tree.get(key);
    const subtree: Tree = existing instanceof Map ? existing : new Map();
    // Bounds of another kind do not mix with those they replace.
    if (path.length === 1 && path[0] === 'pools') subtree.clear();
    tree.set(key, subtree);
    mergeInto(subtree, inner, at, origin);
  }
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function toObject(tree: Tree): object {
  return Object.fromEntries(
    Array.from(tree, ([key, inner]) => [key, inner instanceof Map ? toObject(inner) : inner.value]),
  );
}

function leavesOf(tree: Tree, path: Path): { path: Path; value: unknown; origin: string }[] {
  return Array.from(tree).flatMap(([key, inner]) =>
    inner instanceof Map ? leavesOf(inner, [...path, key]) : [{ path: [...path, key], ...inner }],
  );
}

function originAt(tree: Tree, path: Path): string {
  let at: Tree | Leaf | undefined = tree;
  for (const part of path) {
    if (!(at instanceof Map)) break;
    at = at.get(String(part));
  }
  for (; at instanceof Map; at = at.values().next().value) if (at.size === 0) return 'default';
  return at?.origin ?? 'default';
}
