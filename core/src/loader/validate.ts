// Is what a module exports a plugin, and is it the one its manifest promises?

import semverVersion from 'semver/functions/valid.js';
import semverRange from 'semver/ranges/valid.js';
import { errors } from '../core-errors.ts';
import { type AnyPlugin, PLUGIN_TYPE } from '../plugin.ts';
import { normalizeRequirement, type Requirement } from '../requirements.ts';
import { PLUGIN_NAME } from './manifest.ts';
import type { ManifestRequirement, PluginManifest } from './types.ts';

/**
 * Checks the shape of a definition from code that was not type-checked against this core.
 * @param what how the error names it
 * @throws CORE_ERR_PLUGIN_INVALID
 */
export function checkPlugin(value: unknown, what: string): AnyPlugin {
  const why = whyNotPlugin(value);
  if (why !== undefined) throw errors.CORE_ERR_PLUGIN_INVALID({ details: { what, why } });
  return value as AnyPlugin;
}

function whyNotPlugin(value: unknown): string | undefined {
  if (value === undefined) return 'it has no default export';
  if (!isRecord(value)) return `its default export is ${describe(value)}`;
  if (value.$$type !== PLUGIN_TYPE) return 'its default export was not made by definePlugin()';
  const { name, version, core, requires, provides, config, state, setup } = value;
  if (typeof name !== 'string' || !PLUGIN_NAME.test(name)) {
    return `its name ${describe(name)} is not kebab-case of at most 64 letters`;
  }
  if (typeof setup !== 'function') return 'it has no setup()';
  if (version !== undefined && !isVersion(version)) return `its version ${describe(version)} is not a semver version`;
  if (core !== undefined && !isRange(core)) return `its core ${describe(core)} is not a semver range`;
  if (provides !== undefined) {
    if (!Array.isArray(provides)) return '"provides" is not an array of service tokens';
    const index = provides.findIndex((t) => !isServiceToken(t));
    if (index >= 0) return `provides[${index}] is not a service token`;
    const ids = provides.map((t: { id: string }) => t.id);
    const twice = ids.find((id, i) => ids.indexOf(id) !== i);
    if (twice !== undefined) return `"provides" names service "${twice}" twice`;
  }
  if (requires !== undefined) {
    if (!isRecord(requires)) return '"requires" is not a record of requirements';
    const wrong = Object.entries(requires).find(([, r]) => !isRequirement(r));
    if (wrong !== undefined) return `requires.${wrong[0]} is neither a service token nor made by needs() or optional()`;
  }
  if (config !== undefined && !isSchema(config)) return '"config" is not a Standard Schema (zod, valibot, arktype, …)';
  if (state !== undefined && (!isRecord(state) || !Number.isSafeInteger(state.schema))) {
    return '"state" was not made by defineState()';
  }
  return undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
function isVersion(value: unknown): value is string {
  return typeof value === 'string' && semverVersion(value) !== null;
}
function isRange(value: unknown): value is string {
  return typeof value === 'string' && semverRange(value) !== null;
}
function isServiceToken(value: unknown): boolean {
  return isRecord(value) && value.kind === 'service' && typeof value.id === 'string' && isVersion(value.version);
}
function isRequirement(value: unknown): boolean {
  return isServiceToken(value) || (isRecord(value) && isServiceToken(value.token) && isRange(value.range));
}
function isSchema(value: unknown): boolean {
  // A schema may be callable, as those of arktype are.
  if (typeof value !== 'object' && typeof value !== 'function') return false;
  const standard = (value as Readonly<Record<string, unknown>> | null)?.['~standard'];
  return isRecord(standard) && typeof standard.validate === 'function';
}
function describe(value: unknown): string {
  return typeof value === 'string' ? `"${value.slice(0, 80)}"` : value === null ? 'null' : `of type ${typeof value}`;
}

/**
 * The definition as the runtime uses it: version and core range come from the manifest where the code names none.
 * @throws CORE_ERR_MANIFEST_DRIFT with the manifest to write
 */
export function matchManifest(plugin: AnyPlugin, manifest: PluginManifest): AnyPlugin {
  const why = drift(plugin, manifest);
  if (why.length > 0) {
    const expected = JSON.stringify(expectedKey(plugin, manifest));
    throw errors.CORE_ERR_MANIFEST_DRIFT({
      plugin: manifest.plugin,
      details: { plugin: manifest.plugin, why: why.join('; '), expected },
    });
  }
  return Object.freeze({
    ...plugin,
    version: plugin.version ?? manifest.version,
    core: plugin.core ?? manifest.core,
  });
}

type Requirements = Readonly<Record<string, ManifestRequirement>>;

function providesOf(plugin: AnyPlugin): Readonly<Record<string, string>> {
  return Object.fromEntries((plugin.provides ?? []).map((token) => [token.id, token.version]));
}

function requiresOf(plugin: AnyPlugin): Requirements {
  const all = Object.values<Requirement>(plugin.requires ?? {}).map(normalizeRequirement);
  return Object.fromEntries(all.map(({ token, range, optional }) => [token.id, { range, optional }]));
}

function drift(plugin: AnyPlugin, manifest: PluginManifest): readonly string[] {
  const { name, version, core } = plugin;
  const why: string[] = [];
  if (name !== manifest.plugin) why.push(`the code calls itself "${name}"`);
  if (version !== undefined && version !== manifest.version) {
    why.push(`the code says version ${version}, the package ${manifest.version}`);
  }
  if (core !== undefined && core !== manifest.core)
    why.push(`the code is for core ${core}, the manifest says ${manifest.core}`);
  const shown = (r: ManifestRequirement): string => r.range + (r.optional ? ' (optional)' : '');
  return [
    ...why,
    ...differences('provides', providesOf(plugin), manifest.provides, (v) => v),
    ...differences('requires', requiresOf(plugin), manifest.requires, shown),
  ];
}

function differences<T>(
  verb: string,
  code: Readonly<Record<string, T>>,
  manifest: Readonly<Record<string, T>>,
  show: (value: T) => string,
): readonly string[] {
  const ids = new Set([...Object.keys(code), ...Object.keys(manifest)]);
  return [...ids].sort().flatMap((id) => {
    const [inCode, inManifest] = [code[id], manifest[id]].map((v) => (v === undefined ? undefined : show(v)));
    if (inCode === inManifest) return [];
    if (inManifest === undefined) return [`the code ${verb} ${id} ${inCode}, the manifest does not`];
    if (inCode === undefined) return [`the manifest ${verb} ${id} ${inManifest}, the code does not`];
    return [`the code ${verb} ${id} ${inCode}, the manifest says ${inManifest}`];
  });
}

function expectedKey(plugin: AnyPlugin, manifest: PluginManifest): object {
  const requires = Object.entries(requiresOf(plugin)).map(([id, r]) => [id, r.optional ? r : r.range]);
  return {
    plugin: plugin.name,
    core: plugin.core ?? manifest.core,
    provides: providesOf(plugin),
    requires: Object.fromEntries(requires),
    ...(manifest.commands.length > 0 ? { commands: manifest.commands } : {}),
  };
}
