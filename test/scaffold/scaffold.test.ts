// What a stranger does on the first day: write a plugin, check it, run it, change it while it runs, and hand it on.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
const home = realpathSync(mkdtempSync(join(tmpdir(), 'runtime-stranger-')));
const plugin = join(home, 'night-watch');
const { PATH, HOME, LANG } = process.env;
const env = {
  PATH,
  HOME,
  LANG,
  XDG_RUNTIME_DIR: join(home, 'run'),
  XDG_CACHE_HOME: join(home, 'cache'),
  XDG_CONFIG_HOME: join(home, 'config'),
  XDG_STATE_HOME: join(home, 'state'),
  XDG_DATA_HOME: join(home, 'data'),
  NO_COLOR: '1',
  npm_config_prefer_offline: 'true',
};
/** Of an installed sdk. */
const COMMAND = 'node_modules/@runtime/sdk/bin/runtime.mjs';

/** Waits for what must come, and tells what came instead. */
async function until(condition: () => boolean, instead: () => string): Promise<void> {
  const end = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited in vain; there was:\n${instead()}`);
    await sleep(20);
  }
}

function run(cwd: string, file: string, ...args: string[]): Promise<string> {
  const options = { cwd, env, maxBuffer: 16 * 1024 * 1024 };
  return new Promise((resolve, reject) => {
    execFile(file, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${error.message}\n${stdout}${stderr}`));
    });
  });
}
const runtime = (cwd: string, ...args: string[]): Promise<string> => run(cwd, process.execPath, COMMAND, ...args);
const npm = (cwd: string, ...args: string[]): Promise<string> => run(cwd, 'npm', ...args);

let running: ChildProcess | undefined;

/** Resolves with what it printed when it is ready. */
async function start(cwd: string, ...args: string[]): Promise<{ readonly output: () => string }> {
  const child = spawn(process.execPath, [COMMAND, ...args], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  running = child;
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await until(
    () => output.includes('ready in') || child.exitCode !== null,
    () => output,
  );
  if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}:\n${output}`);
  return { output: () => output };
}

async function stop(): Promise<number | null> {
  const child = running;
  running = undefined;
  if (child === undefined || child.exitCode !== null) return child?.exitCode ?? null;
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  return exited;
}

beforeAll(async () => {
  mkdirSync(env.XDG_RUNTIME_DIR, { mode: 0o700 });
  await run(home, process.execPath, join(root, 'sdk/bin/runtime.mjs'), 'plugin', 'new', '@acme/night-watch');
}, 300_000);
afterEach(async () => void (await stop()));
afterAll(() => rmSync(home, { recursive: true, force: true }));

describe('a new plugin', { timeout: 60_000 }, () => {
  test('type-checks, and its tests pass', async () => {
    await npm(plugin, 'run', 'check');
    expect(await npm(plugin, 'test')).toMatch(/Tests +7 passed \(7\)/);
  });

  test('runs from its folder, and its commands answer', async () => {
    await start(plugin, '--plugins', '.');
    expect(await runtime(plugin, 'night-watch', 'greet', 'Ada', '--loud')).toBe('HELLO, ADA! YOU ARE THE FIRST.\n');
    const guests = JSON.parse(await runtime(plugin, 'night-watch', 'guests', '--format', 'json')) as unknown;
    expect(guests).toEqual([{ name: 'Ada', seat: 1 }]);
    expect(await stop()).toBe(0);
  });

  test('is reloaded when its source changes, and goes on when the change is broken', async () => {
    const file = join(plugin, 'src/index.ts');
    const source = readFileSync(file, 'utf8');
    const { output } = await start(plugin, 'plugin', 'dev', '.');
    const told = (pattern: RegExp): Promise<void> => until(() => pattern.test(output()), output);
    await runtime(plugin, 'night-watch', 'greet', 'Ada');
    writeFileSync(file, source.replace("'Hello'", "'Good evening'"));
    await told(/changed: src\/index\.ts.*reloaded outcome=swapped/s);
    expect(await runtime(plugin, 'night-watch', 'greet', 'Bob')).toBe('Good evening, Bob!\n');
    writeFileSync(file, `${source}const x = ;`);
    await told(/not reloaded.*index\.ts:\d+:11: Unexpected token/s);
    writeFileSync(file, source.replace('setup(ctx) {', `setup(ctx) {\n    throw new Error('not like this');`));
    await told(/not reloaded.*not like this/s);
    expect(await runtime(plugin, 'night-watch', 'greet', 'Cy')).toBe('Good evening, Cy!\n');
    const guests = JSON.parse(await runtime(plugin, 'night-watch', 'guests', '--format', 'json')) as unknown;
    expect(guests).toEqual([
      { name: 'Ada', seat: 1 },
      { name: 'Bob', seat: 2 },
      { name: 'Cy', seat: 3 },
    ]);
    writeFileSync(file, source);
  });

  describe('packed, and installed by somebody else', () => {
    const user = join(home, 'user');

    beforeAll(async () => {
      mkdirSync(user);
      await npm(plugin, 'pack', '--silent', `--pack-destination=${user}`);
      const [cache = ''] = readdirSync(join(home, 'cache/runtime/packs'));
      const packs = join(home, 'cache/runtime/packs', cache);
      const tarballs = [...readdirSync(packs).map((f) => join(packs, f)), 'acme-night-watch-0.1.0.tgz'];
      await npm(user, 'install', '--no-audit', '--no-fund', '--loglevel=error', ...tarballs);
    }, 300_000);

    test('carries compiled code and types, and no sources', () => {
      const files = readdirSync(join(user, 'node_modules/@acme/night-watch'), { recursive: true });
      expect(files.sort()).toEqual([
        'README.md',
        'dist',
        'dist/contract.d.ts',
        'dist/contract.js',
        'dist/index.d.ts',
        'dist/index.js',
        'package.json',
      ]);
    });

    test('is used by a plugin of theirs with its types', async () => {
      writeFileSync(
        join(user, 'doorman.ts'),
        `import { nightWatchService } from '@acme/night-watch/contract';
         import { definePlugin } from '@runtime/sdk';
         export default definePlugin({
           name: 'doorman',
           requires: { watch: nightWatchService },
           async setup(ctx) {
             ctx.events.on('night-watch:greeted', ({ name, seat }) => ctx.log.info({ name, seat: seat + 1 }, 'seen'));
             const text: string = await ctx.services.watch.greet('Ada');
             // @ts-expect-error a seat is a number
             ctx.events.emit('night-watch:greeted', { name: text, seat: 'one' });
           },
         });\n`,
      );
      const flags = [
        '--noEmit',
        '--strict',
        '--module',
        'nodenext',
        '--target',
        'esnext',
        '--lib',
        'esnext',
        '--skipLibCheck',
      ];
      const types = ['--types', 'node', '--typeRoots', join(plugin, 'node_modules/@types')];
      await run(
        user,
        process.execPath,
        join(plugin, 'node_modules/typescript/bin/tsc'),
        ...flags,
        ...types,
        'doorman.ts',
      );
    });

    test.each([[[]], [['--isolation', 'night-watch=process']]])('runs by the name of its package %j', async (flags) => {
      await start(user, '--plugins', '@acme/night-watch', ...flags);
      expect(await runtime(user, 'night-watch', 'greet', 'Ada')).toBe('Hello, Ada! You are the first.\n');
      expect(await runtime(user, 'plugin', 'reload', 'night-watch')).toMatch(/the new code serves/);
      const guests = JSON.parse(await runtime(user, 'night-watch', 'guests', '--format', 'json')) as unknown;
      expect(guests).toEqual([{ name: 'Ada', seat: 1 }]);
      expect(await stop()).toBe(0);
    });

    test('an installed runtime writes the next plugin without a checkout', async () => {
      await runtime(user, 'plugin', 'new', 'next', '--no-install');
      const text = readFileSync(join(user, 'next/package.json'), 'utf8');
      const { devDependencies } = JSON.parse(text) as { devDependencies: Record<string, string> };
      const tarball = (devDependencies['@runtime/sdk'] ?? '').replace(/^file:/, '');
      const listed = await run(user, 'tar', 'tzf', tarball);
      expect(listed).toContain('package/dist/testing/index.js\n');
      expect(listed).toContain('package/src/scaffold/template/gitignore\n');
      expect(listed).toContain('package/bin/runtime.mjs\n');
      expect(listed).not.toContain('node_modules');
    });
  });
});
