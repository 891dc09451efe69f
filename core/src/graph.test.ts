import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkGraph, type Graph, type GraphNode } from './graph.ts';
import { type AnyPlugin, PLUGIN_TYPE } from './plugin.ts';
import { needs, optional, type Requires } from './requirements.ts';
import { defineService } from './tokens.ts';

const service = (id: string, version = '1.0.0') => defineService<object>(id, { version });

interface Parts {
  readonly requires?: Requires;
  readonly provides?: AnyPlugin['provides'];
  readonly core?: string;
  /** A third party's. */
  readonly foreign?: boolean;
}

function node(name: string, { foreign, ...parts }: Parts = {}): GraphNode {
  const definition = { $$type: PLUGIN_TYPE, name, ...parts, setup: () => {} } as AnyPlugin;
  return { definition, trusted: foreign !== true };
}

const told = ({ problems }: Graph): string[] =>
  problems.map((p) => `${p.code.slice('CORE_ERR_'.length)}: ${p.message}`);

describe('what fits together', () => {
  test('is set up in waves: whatever is required first, all else as early as it can be', () => {
    const graph = checkGraph(
      [
        node('shell', { requires: { vm: service('vm'), bus: service('bus') } }),
        node('vmm', { requires: { bus: service('bus') }, provides: [service('vm')] }),
        node('alone'),
        node('dbus', { provides: [service('bus')] }),
      ],
      '1.0.0',
    );
    expect(graph.problems).toEqual([]);
    expect(graph.waves).toEqual([['alone', 'dbus'], ['vmm'], ['shell']]);
    expect([...graph.providers]).toEqual([
      ['vm', 'vmm'],
      ['bus', 'dbus'],
    ]);
    expect(graph.dependencies.get('shell')).toEqual(new Set(['vmm', 'dbus']));
  });

  test('may have more ways through it than anybody could walk', () => {
    const [layers, width] = [30, 3];
    const nodes = Array.from({ length: layers * width }, (_, i) => {
      const below = Array.from({ length: i < width ? 0 : width }, (_unused, n) => i - (i % width) - width + n);
      const requires = Object.fromEntries(below.map((n) => [`r${n}`, service(`s${n}`)]));
      return node(`p${i}`, { requires, provides: [service(`s${i}`)] });
    });
    expect(checkGraph(nodes, '1.0.0').waves).toHaveLength(layers);
  });

  test('may require what it provides itself', () => {
    const own = service('own');
    const graph = checkGraph([node('a', { requires: { own }, provides: [own] })], '1.0.0');
    expect([graph.problems, graph.waves]).toEqual([[], [['a']]]);
  });

  test('may lack what is optional; what is there goes first, but never makes a circle', () => {
    const [x, y, z] = [service('x'), service('y'), service('z')];
    const graph = checkGraph(
      [
        node('a', { requires: { y: optional(y), missing: optional(service('missing')) }, provides: [x] }),
        node('b', { requires: { x: optional(x) }, provides: [y] }),
        node('c', { requires: { x }, provides: [z] }),
        node('d', { requires: { z: optional(z) } }),
      ],
      '1.0.0',
    );
    expect(graph.problems).toEqual([]);
    // a and b each would like to be second.
    expect(graph.waves).toEqual([['b'], ['a'], ['c'], ['d']]);
  });
});

describe('problems', () => {
  test('are told all at once, each with its plugin', () => {
    const graph = checkGraph(
      [
        node('lost', { requires: { a: service('nowhere'), b: needs(service('elsewhere'), '^2.0.0') } }),
        node('one', { provides: [service('twice')] }),
        node('two', { provides: [service('twice')] }),
        node('new', { requires: { twice: service('twice', '2.1.0') } }),
        node('loop-a', { requires: { b: service('b') }, provides: [service('a')] }),
        node('loop-b', { requires: { c: service('c') }, provides: [service('b')] }),
        node('loop-c', { requires: { a: service('a') }, provides: [service('c')] }),
        node('ring-a', { requires: { s: service('s') }, provides: [service('r')] }),
        node('ring-b', { requires: { r: service('r') }, provides: [service('s')] }),
        node('same'),
        node('same'),
        node('old', { core: '^0.9.0' }),
        node('rash', { core: '>=1.0.0', foreign: true }),
      ],
      '1.4.0',
      { elsewhere: 'one', r: 'loop-a' },
    );
    expect(told(graph).sort()).toEqual([
      'GRAPH_CORE: old was written for core ^0.9.0; this is core 1.4.0',
      'GRAPH_CORE_RANGE: rash names the core range ">=1.0.0", which does not fix a major version',
      'GRAPH_CYCLE: plugins require each other in a circle: loop-a → loop-b → loop-c → loop-a',
      'GRAPH_CYCLE: plugins require each other in a circle: ring-a → ring-b → ring-a',
      'GRAPH_MISSING: lost requires service "elsewhere" ^2.0.0, which no loaded plugin provides',
      'GRAPH_MISSING: lost requires service "nowhere" ^1.0.0, which no loaded plugin provides',
      'GRAPH_PROVIDERS: service "twice" is provided by one, two',
      'GRAPH_VERSION: new requires service "twice" ^2.1.0, but one provides 1.0.0',
      'GRAPH_WINNER: the configuration gives service "r" to loop-a, which does not provide it',
      'PLUGIN_DUPLICATE: two plugins are called "same"',
    ]);
    const owners = Object.fromEntries(graph.problems.map(({ code, plugin }) => [code, plugin]));
    expect(owners).toMatchObject({
      CORE_ERR_GRAPH_CORE: 'old',
      CORE_ERR_GRAPH_CORE_RANGE: 'rash',
      CORE_ERR_GRAPH_MISSING: 'lost',
      CORE_ERR_GRAPH_VERSION: 'new',
      CORE_ERR_PLUGIN_DUPLICATE: 'same',
    });
    expect(graph.waves).toEqual([]);
  });

  test('a plugin that is there three times is told once', () => {
    expect(told(checkGraph([node('same'), node('same'), node('same')], '1.0.0'))).toHaveLength(1);
  });

  test('an optional requirement in another version is a problem too', () => {
    const graph = checkGraph(
      [
        node('a', { requires: { x: optional(service('x'), '^2.0.0') } }),
        node('b', { provides: [service('x', '1.9.0')] }),
      ],
      '1.0.0',
    );
    expect(told(graph)).toEqual(['GRAPH_VERSION: a requires service "x" ^2.0.0, but b provides 1.9.0']);
  });
});

describe('versions of contracts', () => {
  test.each([
    ['1.2.0', service('x', '1.0.0'), true],
    ['1.0.0', service('x', '1.0.1'), false],
    ['2.0.0', service('x', '1.0.0'), false],
    ['0.2.0', service('x', '0.1.0'), false],
    ['1.3.0-beta.1', service('x', '1.0.0'), true],
    ['1.4.2', needs(service('x', '9.9.9'), '~1.4.0'), true],
    ['1.5.0', needs(service('x', '9.9.9'), '~1.4.0'), false],
    ['3.0.0', needs(service('x'), '^1.0.0 || ^3.0.0'), true],
    ['1.0.0', needs(service('x'), 'no range'), false],
  ])('%s satisfies %o: %s', (version, x, fits) => {
    const graph = checkGraph(
      [node('a', { requires: { x } }), node('b', { provides: [service('x', version)] })],
      '1.0.0',
    );
    expect(graph.problems.map(({ code }) => code)).toEqual(fits ? [] : ['CORE_ERR_GRAPH_VERSION']);
  });
});

describe('several providers', () => {
  const x = service('x', '1.0.0');
  const newer = service('x', '1.5.0');
  const nodes = [
    node('first', { provides: [x] }),
    node('second', { provides: [newer] }),
    node('user', { requires: { x: needs(x, '^1.2.0') } }),
  ];

  test('need a winner from the configuration, whose version then counts', () => {
    const graph = checkGraph(nodes, '1.0.0', { x: 'second' });
    expect(graph.problems).toEqual([]);
    expect(graph.providers.get('x')).toBe('second');
    expect(graph.dependencies.get('user')).toEqual(new Set(['second']));
    expect(told(checkGraph(nodes, '1.0.0', { x: 'first' }))).toEqual([
      'GRAPH_VERSION: user requires service "x" ^1.2.0, but first provides 1.0.0',
    ]);
  });

  test('with a winner that does not provide it are named', () => {
    const [problem] = checkGraph(nodes, '1.0.0', { x: 'user' }).problems;
    expect(problem?.code).toBe('CORE_ERR_GRAPH_WINNER');
    expect(problem?.remedy).toBe('Name one of: first, second.');
  });
});

describe('the core a plugin was written for', () => {
  const code = (core: string, version: string, foreign = false): string => {
    return (
      checkGraph([node('a', { core, foreign })], version).problems[0]?.code.replace('CORE_ERR_GRAPH_', '') ?? 'fits'
    );
  };

  test.each([
    ['^1.0.0', '1.7.3', 'fits'],
    ['^1.0.0', '2.0.0', 'CORE'],
    ['^1.8.0', '1.7.3', 'CORE'],
    ['not a range', '1.0.0', 'CORE'],
    // A release candidate counts as the release.
    ['^1.0.0', '1.0.0-rc.1', 'fits'],
    ['>=1.0.0', '1.0.0-rc.1', 'fits'],
    ['1.0.0', '1.0.0-rc.1', 'fits'],
    ['1.x', '1.0.0-rc.1', 'fits'],
    ['^1.0.0-rc.1', '1.0.0-rc.1', 'fits'],
    ['1.0.0-rc.1', '1.0.0-rc.1', 'fits'],
    ['>=1.0.0 <2.0.0', '2.0.0-rc.1', 'CORE'],
    ['^1.0.0', '2.0.0-rc.1', 'CORE'],
    ['^2.0.0', '2.0.0-rc.1', 'fits'],
  ])('%s and core %s: %s', (range, version, expected) => {
    expect(code(range, version)).toBe(expected);
  });

  test.each([
    ['^1.2.0', '1.7.3', 'fits'],
    ['~1.7.0', '1.7.3', 'fits'],
    ['1.7.3', '1.7.3', 'fits'],
    ['1.x', '1.7.3', 'fits'],
    ['>=1.2.0 <2.0.0', '1.7.3', 'fits'],
    ['^1.2.0 || ^1.5.0', '1.7.3', 'fits'],
    ['^1.0.0-rc.1', '1.0.0-rc.2', 'fits'],
    ['^1.4.0-rc.1', '1.4.0-rc.2', 'fits'],
    ['*', '1.7.3', 'CORE_RANGE'],
    ['>=1.2.0', '1.7.3', 'CORE_RANGE'],
    ['>=1.2.0 <=2.0.0', '1.7.3', 'CORE_RANGE'],
    ['^1.2.0 || ^3.0.0', '1.7.3', 'CORE_RANGE'],
    ['^0.9.0 || ^1.0.0', '1.7.3', 'CORE_RANGE'],
    ['<2.0.0', '1.7.3', 'CORE_RANGE'],
    // Below 1.0 every minor version may break.
    ['^0.3.0', '0.3.9', 'fits'],
    ['0.3.x', '0.3.9', 'fits'],
    ['~0.3.1', '0.3.9', 'fits'],
    ['0.x', '0.3.9', 'CORE_RANGE'],
    ['>=0.3.0 <0.5.0', '0.3.9', 'CORE_RANGE'],
    ['^0.2.0 || ^0.3.0', '0.3.9', 'CORE_RANGE'],
    ['>=0.3.0', '0.3.9', 'CORE_RANGE'],
  ])('a third party with %s and core %s: %s', (range, version, expected) => {
    expect(code(range, version, true)).toBe(expected);
    expect(code(range, version, false)).toBe('fits');
  });

  test('is suggested', () => {
    const remedy = (core: string, version: string): string | undefined =>
      checkGraph([node('a', { core, foreign: true })], version).problems[0]?.remedy;
    expect(remedy('*', '1.7.3-rc.1')).toMatch(/^Write "\^1\.7\.3":/);
    expect(remedy('*', '0.3.9')).toMatch(/^Write "\^0\.3\.9":/);
  });

  test('need not be said', () => {
    expect(checkGraph([node('a', { foreign: true })], '1.0.0').problems).toEqual([]);
  });
});

// ---- any graph ---------------------------------------------------------------------------------------------------------

interface Edge {
  readonly from: number;
  readonly to: number;
  readonly isOptional: boolean;
}

function build(size: number, edges: readonly Edge[]): readonly GraphNode[] {
  const name = (i: number): string => `p${String(i).padStart(2, '0')}`;
  return Array.from({ length: size }, (_, i) => {
    const own = edges.filter(({ from }) => from === i);
    const requires = Object.fromEntries(
      own.map(({ to, isOptional }, n) => {
        const token = service(`s${to}`);
        return [`r${n}`, isOptional ? optional(token) : token];
      }),
    );
    return node(name(i), { requires, provides: [service(`s${i}`)] });
  });
}

/** Takes away what depends on nothing, until nothing is left or all that is left is in circles or behind them. */
function inCircles(dependencies: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  let left = [...dependencies.keys()];
  for (;;) {
    const next = left.filter((name) => left.some((other) => dependencies.get(name)?.has(other)));
    if (next.length === left.length) return left;
    left = next;
  }
}

function reachable(dependencies: ReadonlyMap<string, ReadonlySet<string>>, from: string): Set<string> {
  const found = new Set([from]);
  for (const name of found) for (const next of dependencies.get(name) ?? []) found.add(next);
  return found;
}

test('any graph: waves keep to the requirements, optional ones give way, and circles are circles', () => {
  const edge = fc.record({ from: fc.nat(9), to: fc.nat(9), isOptional: fc.boolean() });
  let circles = 0;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 }), fc.array(edge, { maxLength: 16, size: 'max' }), (size, numbers) => {
      const edges = numbers.map((e) => ({ ...e, from: e.from % size, to: e.to % size }));
      const nodes = build(size, edges);
      const names = nodes.map(({ definition }) => definition.name);
      const graph = checkGraph(nodes.toReversed(), '1.0.0');
      const wanted = (isOptional: boolean): [string, string][] =>
        edges
          .filter((e) => e.isOptional === isOptional && e.from !== e.to)
          .map(({ from, to }) => [names[from] as string, names[to] as string]);
      const required = new Map(names.map((name) => [name, new Set<string>()]));
      for (const [from, to] of wanted(false)) required.get(from)?.add(to);

      if (inCircles(required).length > 0) {
        circles += 1;
        const paths = graph.problems.map(({ details }) => String(details.path).split(' → '));
        expect(paths.length).toBeGreaterThan(0);
        for (const path of paths) {
          expect(path.at(-1)).toBe(path[0]);
          for (const [i, to] of path.slice(1).entries()) expect(required.get(path[i] as string)?.has(to)).toBe(true);
        }
        const members = paths.flatMap((path) => path.slice(1));
        expect(new Set(members).size).toBe(members.length);
        // With those away there are no more.
        const rest = [...required].filter(([name]) => !members.includes(name));
        expect(inCircles(new Map(rest))).toEqual([]);
        return;
      }

      expect(graph.problems).toEqual([]);
      const waveOf = new Map(graph.waves.flatMap((wave, i) => wave.map((name) => [name, i])));
      expect(graph.waves.flat().sort()).toEqual(names);
      for (const [from, to] of wanted(false)) expect(graph.dependencies.get(from)?.has(to)).toBe(true);
      for (const [from, to] of wanted(true)) {
        const kept = graph.dependencies.get(from)?.has(to);
        expect(kept || reachable(graph.dependencies, to).has(from)).toBe(true);
      }
      for (const [name, dependencies] of graph.dependencies) {
        const waves = [...dependencies].map((dependency) => waveOf.get(dependency) ?? Number.NaN);
        expect(waveOf.get(name)).toBe(Math.max(-1, ...waves) + 1);
      }
      for (const wave of graph.waves) expect(wave).toEqual([...wave].sort());
    }),
    { numRuns: 500 },
  );
  expect(circles).toBeGreaterThan(20);
});
