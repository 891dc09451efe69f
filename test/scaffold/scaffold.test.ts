// What a stranger does on the first day: write a plugin, check it, run it, change it while it runs, and hand it on.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Stranger } from './stranger.ts';

const stranger = new Stranger();
const plugin = stranger.path('night-watch');

beforeAll(() => stranger.newPlugin('@acme/night-watch'), 300_000);
afterEach(() => stranger.stopAll());
afterAll(() => stranger[Symbol.asyncDispose]());

describe('a new plugin', { timeout: 60_000 }, () => {
  test('type-checks, and its tests pass', async () => {
    await stranger.npm(plugin, 'run', 'check');
    expect(await stranger.npm(plugin, 'test')).toMatch(/Tests +7 passed \(7\)/);
  });

  test('runs from its folder, and its commands answer', async () => {
    const running = await stranger.start(plugin, '--plugins', '.');
    expect(await stranger.runtime(plugin, 'night-watch', 'greet', 'Ada', '--loud')).toBe(
      'HELLO, ADA! YOU ARE THE FIRST.\n',
    );
    const guests = JSON.parse(await stranger.runtime(plugin, 'night-watch', 'guests', '--format', 'json')) as unknown;
    expect(guests).toEqual([{ name: 'Ada', seat: 1 }]);
    expect(await running.stop()).toBe(0);
  });

  test('is reloaded when its source changes, and goes on when the change is broken', async () => {
    const file = join(plugin, 'src/index.ts');
    const source = readFileSync(file, 'utf8');
    const running = await stranger.start(plugin, 'plugin', 'dev', '.');
    await stranger.runtime(plugin, 'night-watch', 'greet', 'Ada');
    writeFileSync(file, source.replace("'Hello'", "'Good evening'"));
    await running.says(/changed: src\/index\.ts.*reloaded outcome=swapped/s);
    expect(await stranger.runtime(plugin, 'night-watch', 'greet', 'Bob')).toBe('Good evening, Bob!\n');
    writeFileSync(file, `${source}const x = ;`);
    await running.says(/not reloaded.*index\.ts:\d+:11: Unexpected token/s);
    writeFileSync(file, source.replace('setup(ctx) {', `setup(ctx) {\n    throw new Error('not like this');`));
    await running.says(/not reloaded.*not like this/s);
    expect(await stranger.runtime(plugin, 'night-watch', 'greet', 'Cy')).toBe('Good evening, Cy!\n');
    const guests = JSON.parse(await stranger.runtime(plugin, 'night-watch', 'guests', '--format', 'json')) as unknown;
    expect(guests).toEqual([
      { name: 'Ada', seat: 1 },
      { name: 'Bob', seat: 2 },
      { name: 'Cy', seat: 3 },
    ]);
    writeFileSync(file, source);
  });

  describe('packed, and installed by somebody else', () => {
    const user = stranger.path('user');

    beforeAll(async () => {
      mkdirSync(user);
      await stranger.npm(plugin, 'pack', '--silent', `--pack-destination=${user}`);
      await stranger.install('user', 'acme-night-watch-0.1.0.tgz');
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
      await stranger.run(
        user,
        process.execPath,
        join(plugin, 'node_modules/typescript/bin/tsc'),
        ...flags,
        ...types,
        'doorman.ts',
      );
    });

    test.each([[[]], [['--isolation', 'night-watch=process']]])('runs by the name of its package %j', async (flags) => {
      const running = await stranger.start(user, '--plugins', '@acme/night-watch', ...flags);
      expect(await stranger.runtime(user, 'night-watch', 'greet', 'Ada')).toBe('Hello, Ada! You are the first.\n');
      expect(await stranger.runtime(user, 'plugin', 'reload', 'night-watch')).toMatch(/the new code serves/);
      const guests = JSON.parse(await stranger.runtime(user, 'night-watch', 'guests', '--format', 'json')) as unknown;
      expect(guests).toEqual([{ name: 'Ada', seat: 1 }]);
      expect(await running.stop()).toBe(0);
    });

    test('an installed runtime writes the next plugin without a checkout', async () => {
      await stranger.runtime(user, 'plugin', 'new', 'next', '--no-install');
      const text = readFileSync(join(user, 'next/package.json'), 'utf8');
      const { devDependencies } = JSON.parse(text) as { devDependencies: Record<string, string> };
      const tarball = (devDependencies['@runtime/sdk'] ?? '').replace(/^file:/, '');
      const listed = await stranger.run(user, 'tar', 'tzf', tarball);
      expect(listed).toContain('package/dist/testing/index.js\n');
      expect(listed).toContain('package/src/scaffold/template/gitignore\n');
      expect(listed).toContain('package/bin/runtime.mjs\n');
      expect(listed).not.toContain('node_modules');
    });
  });
});
