// The crostini plugin as npm hands it to its users: compiled, with the program of guests, and without the compiler.

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildGuestBundle, GUEST_FILES, guestNode } from '../../plugins/crostini/src/image/guest-bundle.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');
const OURS = { core: 'core', sdk: 'sdk', 'plugin-vmm': 'plugins/vmm', 'plugin-crostini': 'plugins/crostini' };
/** What the sdk only needs where there are sources. */
const COMPILERS = ['vite', 'rolldown', 'vitest', 'typescript'];

describe('the crostini plugin, packed', { timeout: 60_000 }, () => {
  let home: string;
  let user: string;
  const ofUser = (...path: string[]): string => join(user, 'node_modules/@runtime/plugin-crostini', ...path);

  beforeAll(async () => {
    home = realpathSync(mkdtempSync(join(tmpdir(), 'pack-')));
    user = join(home, 'user');
    const stage = join(home, 'stage');
    link(join(stage, 'node_modules'), readdirSync(join(ROOT, 'node_modules')));
    cpSync(join(ROOT, 'tsconfig.base.json'), join(stage, 'tsconfig.base.json'));
    for (const [name, folder] of Object.entries(OURS)) {
      const filter = (path: string): boolean => !['node_modules', 'dist'].includes(basename(path));
      cpSync(join(ROOT, folder), join(stage, folder), { recursive: true, filter });
      mkdirSync(join(stage, 'node_modules/@runtime'), { recursive: true });
      symlinkSync(join(stage, folder), join(stage, 'node_modules/@runtime', name));
    }
    const PATH = `${join(guestNode(), '..')}:${process.env.PATH}`;
    const pack = ['pack', '--loglevel=error', '--json', `--pack-destination=${home}`];
    await run('npm', pack, { cwd: join(stage, OURS['plugin-crostini']), env: { ...process.env, PATH } });
    mkdirSync(ofUser(), { recursive: true });
    const [tarball = ''] = readdirSync(home).filter((name) => name.endsWith('.tgz'));
    await run('tar', ['-xzf', join(home, tarball), '-C', ofUser(), '--strip-components=1']);
    const others = readdirSync(join(ROOT, 'node_modules')).filter((name) => !COMPILERS.includes(name));
    link(join(user, 'node_modules'), others);
    for (const name of ['core', 'sdk', 'plugin-vmm'] as const) {
      const from = join(stage, OURS[name]);
      const filter = (path: string): boolean => !path.startsWith(join(from, 'src'));
      cpSync(from, join(user, 'node_modules/@runtime', name), { recursive: true, filter });
    }
  }, 300_000);

  afterAll(() => rmSync(home, { recursive: true, force: true }));

  test('carries compiled code, and neither sources nor tests', () => {
    const files = readdirSync(ofUser(), { recursive: true, encoding: 'utf8' });
    expect(files).toContain('dist/guest/program.js');
    expect(files).toContain('dist/image/termina-image.js');
    expect(files.filter((name) => /(?<!\.d)\.ts$|\.test\./.test(name))).toEqual([]);
  });

  test('has what an image is made of, the same bytes as in the checkout', async () => {
    const script = `
      import { buildGuestBundle, guestBundleInputs } from '${ofUser('dist/image/guest-bundle.js')}';
      import '${ofUser('dist/image/termina-image.js')}';
      await buildGuestBundle('${join(home, 'theirs')}');
      console.log(await guestBundleInputs());`;
    const { stdout } = await run(guestNode(), ['--input-type=module', '-e', script], { cwd: user });
    expect(stdout).toMatch(/^[0-9a-f]{64}\n$/);
    await buildGuestBundle(join(home, 'ours'));
    for (const name of Object.values(GUEST_FILES)) {
      expect(readFileSync(join(home, 'theirs', name)).equals(readFileSync(join(home, 'ours', name))), name).toBe(true);
    }
  });
});

/** Into a folder that is made, the packages of these names that are not our own. */
function link(folder: string, names: readonly string[]): void {
  mkdirSync(join(folder, '@runtime'), { recursive: true });
  for (const name of names) {
    if (name !== '@runtime' && name !== '.package-lock.json')
      symlinkSync(join(ROOT, 'node_modules', name), join(folder, name));
  }
}
