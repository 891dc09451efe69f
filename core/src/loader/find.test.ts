import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRuntimeError } from '../errors.ts';
import { findPlugin, findPlugins, listPlugins, type Places } from './find.ts';

let root: string;
let places: Places;

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'find-')));
  const project = join(root, 'project/deep');
  mkdirSync(project, { recursive: true });
  places = {
    cwd: project,
    runtime: { folders: [join(root, 'runtime/plugins')], packages: [join(root, 'runtime/sdk/package.json')] },
    user: join(root, 'data/plugins'),
  };
});
afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, content: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}
function plugin(
  folder: string,
  name: string,
  extra: { package?: string; runtime?: object; files?: string[] } = {},
): void {
  const runtime = { plugin: name, core: '^0.1.0', source: './src/index.ts', ...extra.runtime };
  const json = { name: extra.package ?? name, version: '1.0.0', exports: './dist/index.js', runtime };
  write(`${folder}/package.json`, JSON.stringify(json));
  for (const file of extra.files ?? ['src/index.ts', 'dist/index.js']) write(`${folder}/${file}`, '');
}

describe('finding plugins', () => {
  it('takes a path, relative to the working directory, and prefers the source', () => {
    plugin('project/mine', 'mine');
    const found = findPlugin('../mine', places);
    expect(found).toMatchObject({ origin: 'path', builtIn: false, directory: join(root, 'project/mine') });
    expect(found.entry).toBe(join(root, 'project/mine/src/index.ts'));
    expect(findPlugin(join(root, 'project/mine/package.json'), places)).toEqual(found);
  });

  it('takes the compiled code where Node cannot run the source', () => {
    plugin('project/node_modules/mine', 'mine');
    expect(findPlugin('mine', places).entry).toBe(join(root, 'project/node_modules/mine/dist/index.js'));
    plugin('project/published', 'published', { files: ['dist/index.js'] });
    expect(findPlugin('../published', places).entry).toBe(join(root, 'project/published/dist/index.js'));
  });

  it('finds by npm name and by plugin name in each place, with its origin', () => {
    plugin('project/node_modules/@acme/runtime-clip', 'clip', { package: '@acme/runtime-clip' });
    plugin('runtime/plugins/vmm', 'vmm', { package: '@runtime/vmm' });
    plugin('data/plugins/node_modules/installed', 'installed');
    plugin('data/plugins/copied', 'copied', { package: 'copied-by-hand' });
    const origins = ['clip', '@acme/runtime-clip', 'vmm', '@runtime/vmm', 'installed', 'copied', 'copied-by-hand'].map(
      (spec) => `${spec}: ${findPlugin(spec, places).origin}`,
    );
    expect(origins).toEqual([
      'clip: project',
      '@acme/runtime-clip: project',
      'vmm: runtime',
      '@runtime/vmm: runtime',
      'installed: user',
      'copied: user',
      'copied-by-hand: user',
    ]);
  });

  it("counts the dependencies of the runtime's own package as built in", () => {
    write('runtime/sdk/package.json', JSON.stringify({ dependencies: { '@runtime/venus': '1', zod: '4' } }));
    plugin('runtime/node_modules/@runtime/venus', 'venus', { package: '@runtime/venus' });
    plugin('runtime/node_modules/stray', 'stray');
    write('runtime/node_modules/zod/package.json', '{"name":"zod","version":"4.0.0"}');
    expect(listPlugins(places).plugins.map((p) => [p.manifest.plugin, p.builtIn])).toEqual([['venus', true]]);
  });

  it('knows a plugin of the runtime behind a link in node_modules, and its path', () => {
    plugin('runtime/plugins/vmm', 'vmm', { package: '@runtime/vmm' });
    mkdirSync(join(root, 'project/node_modules/@runtime'), { recursive: true });
    symlinkSync(join(root, 'runtime/plugins/vmm'), join(root, 'project/node_modules/@runtime/vmm'));
    for (const spec of ['vmm', '@runtime/vmm', join(root, 'runtime/plugins/vmm')]) {
      const found = findPlugin(spec, places);
      expect(found).toMatchObject({ builtIn: true, entry: join(root, 'runtime/plugins/vmm/src/index.ts') });
    }
    expect(listPlugins(places).plugins).toHaveLength(1);
  });

  it('lets the project go before the runtime, and the runtime before the user', () => {
    plugin('data/plugins/vmm', 'vmm');
    expect(findPlugin('vmm', places).origin).toBe('user');
    plugin('runtime/plugins/vmm', 'vmm');
    expect(findPlugin('vmm', places).origin).toBe('runtime');
    plugin('project/node_modules/other-vmm', 'vmm', { package: 'other-vmm' });
    expect(listPlugins(places).plugins.map((p) => p.manifest.package)).toEqual(['other-vmm']);
  });

  it('names the places and the nearest name when there is none', () => {
    plugin('runtime/plugins/crostini', 'crostini');
    let error: unknown;
    try {
      findPlugin('crostni', places);
    } catch (e) {
      error = e;
    }
    expect(isRuntimeError(error, 'CORE_ERR_PLUGIN_NOT_FOUND')).toBe(true);
    for (const part of ['did you mean "crostini"', places.cwd, places.user, join(root, 'runtime/plugins')]) {
      expect(String(error)).toContain(part);
    }
    expect(() => findPlugin('./nowhere', places)).toThrow('does not exist');
    mkdirSync(join(places.cwd, 'empty'));
    expect(() => findPlugin('./empty', places)).toThrow('has no package.json');
  });

  it('reports every plugin that cannot be used', () => {
    plugin('runtime/plugins/good', 'good');
    try {
      findPlugins(['good', 'nope', './neither'], places);
      expect.unreachable();
    } catch (e) {
      expect((e as AggregateError).errors.map(String)).toEqual([
        expect.stringContaining('"nope"'),
        expect.stringContaining('"./neither"'),
      ]);
    }
  });

  it('lists the others when one manifest is broken, and ignores packages that are no plugins', () => {
    plugin('runtime/plugins/good', 'good');
    plugin('runtime/plugins/bad', 'bad', { runtime: { core: 'newest' } });
    write('runtime/plugins/data/readme.txt', '');
    write('runtime/plugins/stray-file', '');
    write('runtime/plugins/tool/package.json', '{"name":"tool","version":"1.0.0","runtime":"node"}');
    const { plugins, problems } = listPlugins(places);
    expect(plugins.map((p) => p.manifest.plugin)).toEqual(['good']);
    expect(problems).toEqual([{ directory: join(root, 'runtime/plugins/bad'), error: expect.anything() }]);
    expect(String(problems[0]?.error)).toContain('runtime.core: not a semver range');
  });
});
