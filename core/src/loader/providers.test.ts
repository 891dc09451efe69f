import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { findPlugins, type Places } from './find.ts';
import { withProviders } from './providers.ts';

let root: string;
let places: Places;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'providers-'));
  mkdirSync(join(root, 'project'));
  places = {
    cwd: join(root, 'project'),
    runtime: { folders: [join(root, 'plugins')], packages: [] },
    user: join(root, 'user'),
  };
});
afterEach(() => rmSync(root, { recursive: true }));

function plugin(path: string, runtime: object): void {
  const folder = join(root, path);
  mkdirSync(folder, { recursive: true });
  const name = path.split('/').at(-1);
  const json = { name, version: '1.0.0', exports: './index.js', runtime: { plugin: name, core: '^0.1.0', ...runtime } };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(json));
}

const names = (...specs: string[]): readonly string[] =>
  withProviders(findPlugins(specs, places), places).map(({ manifest }) => manifest.plugin);

it('adds the built-in provider of a required service, and what that requires', () => {
  plugin('plugins/top', { requires: { middle: '^1.0.0' } });
  plugin('plugins/middle', { provides: { middle: '1.0.0' }, requires: { base: '^1.0.0' } });
  plugin('plugins/base', { provides: { base: '1.0.0' } });
  expect(names('top')).toEqual(['top', 'middle', 'base']);
  expect(names('base', 'top')).toEqual(['base', 'top', 'middle']);
});

it('adds nothing for what is optional, provided already, or only offered by a plugin that is not built in', () => {
  plugin('plugins/soft', { requires: { base: { range: '^1.0.0', optional: true } } });
  plugin('plugins/hard', { requires: { base: '^1.0.0' } });
  plugin('plugins/base', { provides: { base: '1.0.0' } });
  plugin('mine', { provides: { base: '1.0.0' } });
  plugin('plugins/lost', { requires: { other: '^1.0.0' } });
  plugin('user/theirs', { provides: { other: '1.0.0' } });
  expect(names('soft')).toEqual(['soft']);
  expect(names('hard', join(root, 'mine'))).toEqual(['hard', 'mine']);
  expect(names('lost')).toEqual(['lost']);
});

it('does not add a second plugin of a name', () => {
  plugin('plugins/top', { requires: { base: '^1.0.0' } });
  plugin('plugins/base', { provides: { base: '1.0.0' } });
  plugin('project/base', {});
  expect(names('top', './base')).toEqual(['top', 'base']);
});
