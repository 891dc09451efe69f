// The whole plugin graph is checked before anything runs, and every problem is reported at once.

// One by one: all of semver is forty modules, which the start would wait for.
import SemVer from 'semver/classes/semver.js';
import coerce from 'semver/functions/coerce.js';
import satisfies from 'semver/functions/satisfies.js';
import subset from 'semver/ranges/subset.js';
import { errors } from './core-errors.ts';
import type { RuntimeError } from './errors.ts';
import type { AnyPlugin } from './plugin.ts';
import { type NormalRequirement, normalizeRequirement } from './requirements.ts';
import type { ServiceToken } from './tokens.ts';

export interface GraphNode {
  readonly definition: AnyPlugin;
  /** Came with the runtime or was given as an object by its owner, so that its core range need not fix a major. */
  readonly trusted: boolean;
}

export interface Graph {
  /** Service id → plugin. */
  readonly providers: ReadonlyMap<string, string>;
  /** Plugin → plugins that must be set up before it. */
  readonly dependencies: ReadonlyMap<string, ReadonlySet<string>>;
  /** Names set up together, wave after wave; within one sorted by name. */
  readonly waves: readonly (readonly string[])[];
  /** Each names the plugin it belongs to; that of a wrong winner belongs to the configuration. */
  readonly problems: readonly RuntimeError[];
}

export function requirementsOf(definition: AnyPlugin): readonly NormalRequirement[] {
  return Object.values(definition.requires ?? {}).map(normalizeRequirement);
}

export function checkGraph(
  nodes: readonly GraphNode[],
  coreVersion: string,
  winners: Readonly<Record<string, string>> = {},
): Graph {
  const problems: RuntimeError[] = [];
  const definitions = new Map(nodes.map(({ definition }) => [definition.name, definition]));
  problems.push(...duplicates(nodes), ...nodes.flatMap((node) => coreProblems(node, coreVersion)));
  const tokens = chooseProviders(nodes, winners, problems);
  const edges = new Map<string, { readonly required: Set<string>; readonly optional: Set<string> }>();
  for (const { definition } of nodes) {
    edges.set(definition.name, resolveRequirements(definition, tokens, problems));
  }
  const required = new Map([...edges].map(([name, { required }]) => [name, required]));
  const cycles = findCycles(required);
  for (const cycle of cycles) {
    problems.push(errors.CORE_ERR_GRAPH_CYCLE({ plugin: cycle[0] ?? '', details: { path: cycle.join(' → ') } }));
  }
  const dependencies = cycles.length === 0 ? addOptional(required, edges) : required;
  const waves = cycles.length === 0 ? toWaves([...definitions.keys()], dependencies) : [];
  return { providers: new Map([...tokens].map(([id, { provider }]) => [id, provider])), dependencies, waves, problems };
}

function duplicates(nodes: readonly GraphNode[]): RuntimeError[] {
  const names = nodes.map(({ definition }) => definition.name);
  const twice = new Set(names.filter((name, i) => names.indexOf(name) !== i));
  return [...twice].map((plugin) => errors.CORE_ERR_PLUGIN_DUPLICATE({ plugin, details: { plugin } }));
}

function coreProblems({ definition, trusted }: GraphNode, version: string): RuntimeError[] {
  const { name: plugin, core: range } = definition;
  if (range === undefined) return [];
  // A release candidate of the core counts as the release.
  const release = coerce(version)?.version ?? version;
  if (![version, release].some((v) => satisfies(v, range))) {
    return [errors.CORE_ERR_GRAPH_CORE({ plugin, details: { plugin, range, version } })];
  }
  if (trusted) return [];
  const { major, minor } = new SemVer(release);
  const isStable = major > 0;
  const compatible = isStable ? `>=${major}.0.0-0 <${major + 1}.0.0` : `>=0.${minor}.0-0 <0.${minor + 1}.0`;
  if (subset(range, compatible, { includePrerelease: true })) return [];
  const part = isStable ? 'a major version' : 'a minor version (below 1.0 each may break)';
  return [errors.CORE_ERR_GRAPH_CORE_RANGE({ plugin, details: { plugin, range, part, suggestion: `^${release}` } })];
}

interface Provided {
  readonly provider: string;
  readonly token: ServiceToken<object>;
}

function chooseProviders(
  nodes: readonly GraphNode[],
  winners: Readonly<Record<string, string>>,
  problems: RuntimeError[],
): Map<string, Provided> {
  const candidates = new Map<string, Provided[]>();
  for (const { definition } of nodes) {
    for (const token of definition.provides ?? []) {
      const list = candidates.get(token.id) ?? [];
      list.push({ provider: definition.name, token });
      candidates.set(token.id, list);
    }
  }
  const chosen = new Map<string, Provided>();
  for (const [service, list] of candidates) {
    const winner = winners[service];
    const choice = winner === undefined ? list[0] : list.find(({ provider }) => provider === winner);
    const providers = list.map(({ provider }) => provider).join(', ');
    if (choice === undefined) {
      problems.push(errors.CORE_ERR_GRAPH_WINNER({ details: { service, plugin: winner, providers } }));
    } else if (winner === undefined && list.length > 1) {
      problems.push(errors.CORE_ERR_GRAPH_PROVIDERS({ plugin: choice.provider, details: { service, providers } }));
    }
    const settled = choice ?? list[0];
    if (settled !== undefined) chosen.set(service, settled);
  }
  return chosen;
}

function resolveRequirements(
  definition: AnyPlugin,
  providers: ReadonlyMap<string, Provided>,
  problems: RuntimeError[],
): { required: Set<string>; optional: Set<string> } {
  const edges = { required: new Set<string>(), optional: new Set<string>() };
  for (const { token, range, optional } of requirementsOf(definition)) {
    const found = providers.get(token.id);
    const details = { plugin: definition.name, service: token.id, range };
    if (found === undefined) {
      if (!optional) problems.push(errors.CORE_ERR_GRAPH_MISSING({ plugin: definition.name, details }));
      continue;
    }
    const { version } = found.token;
    if (!satisfies(version, range, { includePrerelease: true })) {
      const more = { ...details, provider: found.provider, version };
      problems.push(errors.CORE_ERR_GRAPH_VERSION({ plugin: definition.name, details: more }));
    }
    // Its own service needs no order.
    if (found.provider !== definition.name) (optional ? edges.optional : edges.required).add(found.provider);
  }
  return edges;
}

/** Cycles that have no plugin in common, each as a path that ends where it began. */
function findCycles(dependencies: ReadonlyMap<string, ReadonlySet<string>>): (readonly string[])[] {
  const cycles: (readonly string[])[] = [];
  const rest = new Map(dependencies);
  for (let cycle = findCycle(rest); cycle !== undefined; cycle = findCycle(rest)) {
    cycles.push(cycle);
    for (const name of cycle) rest.delete(name);
  }
  return cycles;
}

function findCycle(dependencies: ReadonlyMap<string, ReadonlySet<string>>): readonly string[] | undefined {
  const finished = new Set<string>();
  const visit = (name: string, path: readonly string[]): readonly string[] | undefined => {
    const at = path.indexOf(name);
    if (at !== -1) return [...path.slice(at), name];
    if (finished.has(name)) return undefined;
    for (const next of dependencies.get(name) ?? []) {
      const cycle = visit(next, [...path, name]);
      if (cycle !== undefined) return cycle;
    }
    finished.add(name);
    return undefined;
  };
  for (const name of [...dependencies.keys()].sort()) {
    const cycle = visit(name, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

/** Optional requirements order the setup too, except where that would make a circle. */
function addOptional(
  required: ReadonlyMap<string, ReadonlySet<string>>,
  edges: ReadonlyMap<string, { readonly optional: ReadonlySet<string> }>,
): Map<string, Set<string>> {
  const all = new Map([...required].map(([name, set]) => [name, new Set(set)]));
  for (const [name, { optional }] of [...edges].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const provider of optional) {
      if (!reaches(all, provider, name)) all.get(name)?.add(provider);
    }
  }
  return all;
}

function reaches(edges: ReadonlyMap<string, ReadonlySet<string>>, from: string, to: string): boolean {
  const seen = new Set<string>();
  const queue = [from];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if (next === to) return true;
    if (seen.has(next)) continue;
    seen.add(next);
    queue.push(...(edges.get(next) ?? []));
  }
  return false;
}

function toWaves(names: readonly string[], dependencies: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const waves: string[][] = [];
  const placed = new Set<string>();
  while (placed.size < names.length) {
    const wave = names.filter((name) => !placed.has(name) && (dependencies.get(name) ?? new Set()).isSubsetOf(placed));
    if (wave.length === 0) break;
    for (const name of wave) placed.add(name);
    waves.push(wave.sort());
  }
  return waves;
}
