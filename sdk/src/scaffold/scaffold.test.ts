import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseManifest } from '@runtime/core/loader';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createPlugin } from './create-plugin.ts';
import { parseNames } from './names.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'scaffold-'));
});
afterEach(() => rm(folder, { recursive: true }));

const packs = { core: '/packs/core.tgz', sdk: '/packs/sdk.tgz' };

test.each([
  ['hello-world', '/home/ann', '/home/ann/hello-world', 'hello-world', 'hello-world'],
  ['./plugins/hello', '/home/ann', '/home/ann/plugins/hello', 'hello', 'hello'],
  ['/elsewhere/hello/', '/home/ann', '/elsewhere/hello', 'hello', 'hello'],
  ['.', '/home/ann/hello', '/home/ann/hello', 'hello', 'hello'],
  ['@acme/hello', '/home/ann', '/home/ann/hello', '@acme/hello', 'hello'],
  ['/home/ann/packages/@acme/hello', '/', '/home/ann/packages/@acme/hello', '@acme/hello', 'hello'],
])('%s in %s', (target, cwd, path, packageName, plugin) => {
  expect(parseNames(target, cwd)).toEqual({ folder: path, package: packageName, plugin });
});

test.each([
  ['HelloWorld', /kebab|lower case/, /hello-world/],
  ['hello_world', /lower case/, /hello-world/],
  ['3d', /lower case/, /such as my-3d\./],
  ['x'.repeat(65), /64 letters/, /x{64}\./],
  ['--', /lower case/, /my-plugin/],
  ['core', /part of the runtime/, /my-core/],
  ['http', /module of Node/, /my-http/],
  ['@Acme/hello', /"@Acme" is not a scope/, /hello/],
])('%s is refused, with a name that would do', (target, message, remedy) => {
  expect(() => parseNames(target, '/work')).toThrow(
    expect.objectContaining({
      code: 'SDK_ERR_PLUGIN_NAME',
      message: expect.stringMatching(message),
      remedy: expect.stringMatching(remedy),
    }),
  );
});

test('writes the template under the names asked for', async () => {
  const created = await createPlugin('@acme/night-watch', { cwd: folder, install: false, packs });
  expect(created).toMatchObject({ folder: join(folder, 'night-watch'), installed: false });
  expect(created.next).toContain('npm install');
  const onDisk = await readdir(created.folder, { recursive: true, withFileTypes: true });
  expect(
    onDisk
      .filter((e) => e.isFile())
      .map((e) => join(e.parentPath, e.name).slice(created.folder.length + 1))
      .sort(),
  ).toEqual([...created.files].sort());
  expect(created.files).toContain('.gitignore');
  for (const file of created.files) expect(await readFile(join(created.folder, file), 'utf8')).not.toMatch(/example/i);

  const text = await readFile(join(created.folder, 'package.json'), 'utf8');
  const { manifest } = parseManifest(text, 'package.json');
  expect(manifest).toMatchObject({
    plugin: 'night-watch',
    package: '@acme/night-watch',
    provides: { 'night-watch': '1.0.0' },
  });
  const { devDependencies } = JSON.parse(text) as { devDependencies: Record<string, string> };
  expect(devDependencies).toMatchObject({
    '@runtime/core': 'file:/packs/core.tgz',
    '@runtime/sdk': 'file:/packs/sdk.tgz',
  });
  expect(await readFile(join(created.folder, 'src/contract.ts'), 'utf8')).toContain('export const nightWatchService');
});

test('writes into an empty folder, and into no other', async () => {
  await mkdir(join(folder, 'empty'));
  await createPlugin('empty', { cwd: folder, install: false, packs });
  await expect(createPlugin('empty', { cwd: folder, install: false, packs })).rejects.toMatchObject({
    code: 'SDK_ERR_FOLDER_NOT_EMPTY',
  });
  await writeFile(join(folder, 'file'), '');
  await expect(createPlugin('file', { cwd: folder, install: false, packs })).rejects.toMatchObject({
    code: 'SDK_ERR_FOLDER_NOT_EMPTY',
    message: expect.stringContaining('ENOTDIR'),
  });
  expect(await readFile(join(folder, 'file'), 'utf8')).toBe('');
});
