import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isRuntimeError } from '../errors.ts';
import { claimsToBePlugin, MANIFEST_LIMIT, type PluginPackage, parseManifest, readPackageJson } from './manifest.ts';

const minimal = { plugin: 'hello', core: '^0.1.0' };

function parse(runtime: unknown, rest: object = {}): PluginPackage {
  return parseManifest(JSON.stringify({ name: '@x/hello', version: '1.0.0', ...rest, runtime }), 'package.json');
}
function refusal(runtime: unknown, rest: object = {}): string {
  try {
    parse(runtime, rest);
  } catch (e) {
    if (isRuntimeError(e, 'CORE_ERR_MANIFEST')) return String(e.details.why);
    throw e;
  }
  return '(accepted)';
}

describe('the manifest', () => {
  it('fills in what is left out', () => {
    expect(parse(minimal).manifest).toEqual({
      plugin: 'hello',
      package: '@x/hello',
      version: '1.0.0',
      description: '',
      core: '^0.1.0',
      provides: {},
      requires: {},
      commands: [],
    });
  });

  it('takes requirements in the short and in the long form', () => {
    const { manifest } = parse({ ...minimal, requires: { bus: '^1.0.0', metrics: { range: '>=2', optional: true } } });
    expect(manifest.requires).toEqual({
      bus: { range: '^1.0.0', optional: false },
      metrics: { range: '>=2', optional: true },
    });
  });

  it.each([
    [{ ...minimal, requries: {} }, 'runtime: unknown key "requries"; did you mean "requires"?'],
    [
      { ...minimal, requires: { bus: { range: '^1', optinal: true } } },
      'runtime.requires.bus: unknown key "optinal"; did you mean "optional"?',
    ],
    [{ ...minimal, plugin: 'Hello' }, 'runtime.plugin: not a plugin name'],
    [{ ...minimal, plugin: `a${'b'.repeat(64)}` }, 'runtime.plugin: not a plugin name'],
    [{ plugin: 'hello' }, 'runtime.core: it is missing'],
    [{ ...minimal, core: 'latest' }, 'runtime.core: not a semver range'],
    [{ ...minimal, provides: { greeter: 'one' } }, 'runtime.provides.greeter: not a semver version'],
    [{ ...minimal, source: '../elsewhere.ts' }, 'runtime.source: not a path inside the package'],
    [{ ...minimal, source: './src/../../x.ts' }, 'runtime.source: not a path inside the package'],
    [{ ...minimal, commands: [{ name: 'Hello World', summary: 'x' }] }, 'runtime.commands[0].name: not words'],
    ['hello', 'runtime: expected object'],
  ])('refuses %j', (runtime, why) => {
    expect(refusal(runtime)).toContain(why);
  });

  it('names everything that is wrong at once', () => {
    const why = refusal({ plugin: 'X', core: '?', sorce: '' });
    expect(why.split('; ').filter((part) => part.startsWith('runtime'))).toHaveLength(3);
  });

  it('tells a package that is no plugin from one that is broken', () => {
    expect(() => parseManifest('{"name":"x","version":"1.0.0"}', 'f')).toThrow('it has no key "runtime"');
    expect(() => parseManifest('{', 'f')).toThrow('it is not JSON');
    expect(claimsToBePlugin('{"name":"x","runtime":"node"}')).toBe(false);
    expect(claimsToBePlugin('{"runtime":{"plugin":3}}')).toBe(true);
    expect(claimsToBePlugin('"runtime" {')).toBe(false);
  });

  it.each([
    ['./dist/index.js', './dist/index.js'],
    [{ import: './a.js', default: './b.js' }, './a.js'],
    [{ '.': { types: './a.d.ts', node: { require: './a.cjs', default: './a.mjs' } }, './x': './x.js' }, './a.mjs'],
    [{ '.': { '@runtime/source': './src/a.ts', default: './dist/a.js' } }, './dist/a.js'],
    [{ '.': [{ browser: './b.js' }, './a.js'] }, './a.js'],
    [{ './only-sub': './x.js' }, './lib/main.js'],
    [{ require: './a.cjs' }, './lib/main.js'],
    [undefined, './lib/main.js'],
  ])('finds the compiled code in exports %j', (exports, compiled) => {
    expect(parse(minimal, { exports, main: 'lib/main.js' }).compiled).toBe(compiled);
  });

  it('survives any JSON, with a coded error or a manifest', () => {
    fc.assert(
      fc.property(fc.json(), fc.json(), (whole, runtime) => {
        for (const text of [whole, `{"name":"x","version":"1.0.0","runtime":${runtime},"exports":${whole}}`]) {
          try {
            parseManifest(text, 'f');
          } catch (e) {
            if (!isRuntimeError(e, 'CORE_ERR_MANIFEST')) throw e;
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('is not read when it is too large', () => {
    const directory = mkdtempSync(join(tmpdir(), 'manifest-'));
    try {
      const file = join(directory, 'package.json');
      expect(readPackageJson(file)).toBeUndefined();
      writeFileSync(file, '{}');
      expect(readPackageJson(file)).toBe('{}');
      truncateSync(file, MANIFEST_LIMIT + 1);
      expect(() => readPackageJson(file)).toThrow('is the limit');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
