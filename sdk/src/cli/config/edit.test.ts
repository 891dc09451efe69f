import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addPlugin, removePlugins } from './edit.ts';

let root: string;
let file: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'edit-'));
  file = join(root, 'runtime/config.yaml');
});
afterEach(() => rmSync(root, { recursive: true }));
const text = (): string => readFileSync(file, 'utf8');

describe('the list of plugins in the configuration', () => {
  it('is made with its file, which nobody else may read', async () => {
    expect(await addPlugin(file, 'hello')).toBe(true);
    expect(text()).toBe('plugins:\n  - hello\n');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await addPlugin(file, 'hello')).toBe(false);
  });

  it('changes, and everything else stays: comments, order, quotes', async () => {
    await addPlugin(file, 'x');
    const rest = '# my runtime\nlog: { level: "warn" } # quiet\n\nplugins:\n  - a # first\n  - ./b\nservices: {}\n';
    writeFileSync(file, rest);
    chmodSync(file, 0o640);
    await addPlugin(file, 'c');
    expect(text()).toBe(rest.replace('  - ./b\n', '  - ./b\n  - c\n'));
    // As others see it: from where the file is.
    expect(await removePlugins(file, (spec) => spec === join(root, 'runtime/b'))).toBe(true);
    expect(text()).toBe(rest.replace('  - ./b\n', '  - c\n'));
    expect(await removePlugins(file, (spec) => spec === 'nobody')).toBe(false);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    expect(readdirSync(join(root, 'runtime'))).toEqual(['config.yaml']);
  });

  it('is not touched in a file with mistakes', async () => {
    await addPlugin(file, 'x');
    writeFileSync(file, 'plugins: [x\n');
    await expect(addPlugin(file, 'y')).rejects.toThrow('config.yaml:');
    expect(text()).toBe('plugins: [x\n');
  });

  it('is changed behind a link, not in its place', async () => {
    const real = join(root, 'dotfiles.yaml');
    writeFileSync(real, 'plugins: [a]\n');
    await addPlugin(join(root, 'runtime/other.yaml'), 'x');
    symlinkSync(real, file);
    await addPlugin(file, 'b');
    expect(readFileSync(real, 'utf8')).toBe('plugins: [ a, b ]\n');
    expect(existsSync(file)).toBe(true);
  });
});
