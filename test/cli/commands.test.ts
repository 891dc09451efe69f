// Commands that look at a runtime, and commands of plugins with their input, output and end.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HELLO, Home, ROOT } from './command-line.ts';

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

function writePlugin(
  name: string,
  setup: string,
  options: { manifest?: object; definition?: string; before?: string } = {},
): string {
  const folder = join(home.folder, name);
  mkdirSync(folder, { recursive: true });
  const runtime = { plugin: name, core: '^0.1.0', source: './index.ts', ...options.manifest };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, version: '1.0.0', type: 'module', runtime }));
  const source = `import { definePlugin, defineService, needs, optional } from '@runtime/sdk';
${options.before ?? ''}
export default definePlugin({ name: '${name}', ${options.definition ?? ''} async setup(ctx) { ${setup} } });\n`;
  writeFileSync(join(folder, 'index.ts'), source);
  return folder;
}

describe('commands of plugins', () => {
  const copy = `ctx.commands.add({ name: 'echo copy', summary: 'copy the input' }, async ({ io }) => {
      for await (const chunk of io.input) await io.write(chunk);
      await io.err('copied');
      return 3;
    });
    ctx.commands.add({ name: 'echo wait', summary: 'wait' }, ({ io, signal }) => new Promise((_, reject) => {
      void io.out('waiting');
      signal.addEventListener('abort', () => reject(signal.reason));
    }));
    ctx.commands.add({ name: 'echo last', summary: 'go on', lasting: true }, ({ io, signal }) => new Promise((resolve) => {
      void io.out('going on');
      const timer = setInterval(() => {}, 1000);
      signal.addEventListener('abort', () => {
        clearInterval(timer);
        resolve(4);
      });
    }));
    ctx.commands.add({ name: 'echo rows', summary: 'data' }, ({ io }) => io.data([{ id: 1n, name: 'a' }]));
    ctx.commands.add({ name: 'echo listen', summary: 'read on' }, ({ io }) => {
      void io.input[Symbol.asyncIterator]().next().catch(() => {});
    });
    ctx.commands.add({ name: 'echo fail', summary: 'fail' }, () => { throw new Error('no luck'); });`;

  test('take input, give output and errors apart, and an exit code', async () => {
    const folder = writePlugin('echo', copy);
    const running = home.start(['--plugins', folder]);
    await running.says('ready in');
    for (const place of [[], ['--plugins', folder]]) {
      const argv = ['--conditions=@runtime/source', join(ROOT, 'sdk/bin/runtime.mjs'), ...place, 'echo', 'copy'];
      const bytes = Buffer.from([0, 255, 10, 13, 128]);
      const { stdout, stderr, status } = spawnSync(process.execPath, argv, {
        env: home.env,
        cwd: home.folder,
        input: bytes,
      });
      expect([...stdout]).toEqual([...bytes]);
      expect(stderr.toString()).toBe('copied\n');
      expect(status).toBe(3);
    }
  });

  test('print data in the form that was asked for', async () => {
    const running = home.start(['--plugins', writePlugin('echo', copy)]);
    await running.says('ready in');
    expect((await home.run(['echo', 'rows'])).stdout).toBe('ID  NAME\n 1  a\n');
    expect(JSON.parse((await home.run(['echo', 'rows', '--format', 'json'])).stdout)).toEqual([{ id: 1, name: 'a' }]);
    expect((await home.run(['--format', 'yaml', 'echo', 'rows'])).stdout).toBe('- id: 1\n  name: a\n');
  });

  test('end while they still wait for input, wherever they run', async () => {
    const folder = writePlugin('echo', copy);
    const running = home.start(['--plugins', folder]);
    await running.says('ready in');
    for (const place of [[], ['--plugins', folder]]) {
      const argv = ['--conditions=@runtime/source', join(ROOT, 'sdk/bin/runtime.mjs'), ...place, 'echo', 'listen'];
      const child = spawn(process.execPath, argv, {
        env: home.env,
        cwd: home.folder,
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      // Its input stays open.
      const [code] = (await once(child, 'exit')) as [number | null];
      expect(code).toBe(0);
    }
  });

  test('are cancelled by ctrl+c, with 130', async () => {
    const running = home.start(['--plugins', writePlugin('echo', copy)]);
    await running.says('ready in');
    const waiting = home.start(['echo', 'wait']);
    await waiting.says('waiting');
    waiting.child.kill('SIGINT');
    expect(await waiting.ended).toEqual({ code: 130, stdout: 'waiting\n', stderr: '' });
  });

  test('fail with a message, and as JSON for programs', async () => {
    const folder = writePlugin('echo', copy);
    const text = await home.run(['--plugins', folder, 'echo', 'fail']);
    expect(text).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('error: no luck') });
    const json = await home.run(['--plugins', folder, 'echo', 'fail', '--format', 'json']);
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { message: 'no luck' } });
    const unknown = await home.run(['--plugins', folder, 'echo', 'cpoy']);
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringContaining('did you mean "echo copy"') });
  });

  test('have help, and are listed when only their first word is typed', async () => {
    const running = home.start(['--plugins', HELLO]);
    await running.says('ready in');
    expect((await home.run(['hello', 'greet', '--help'])).stdout).toContain('-l, --loud');
    expect(await home.run(['hello'])).toMatchObject({ code: 2, stderr: expect.stringContaining('hello greet') });
    expect((await home.run(['--help'])).stdout).toMatch(/Of plugins:\n[\s\S]*\n +hello greet +greet somebody/);
  });

  test('that go on for long are accompanied by others, in the runtime that they have for themselves', async () => {
    const folder = writePlugin('echo', copy);
    const lasting = home.start(['--plugins', folder, 'echo', 'last']);
    await lasting.says('going on');
    // A second one has a runtime of its own, too, but not the name.
    const second = home.start(['--plugins', folder, 'echo', 'last']);
    await second.says('going on');
    expect((await home.run(['echo', 'rows'])).stdout).toBe('ID  NAME\n 1  a\n');
    expect((await home.run(['stop'])).code).toBe(0);
    expect((await lasting.ended).code).toBe(4);
    expect((await home.run(['echo', 'rows'])).code).toBe(2);
    second.child.kill('SIGINT');
    expect((await second.ended).code).toBe(130);
  });

  test('say who would answer when nothing runs', async () => {
    const data = join(home.folder, 'data/runtime/plugins');
    mkdirSync(data, { recursive: true });
    spawnSync('cp', ['-r', HELLO, join(data, 'hello')]);
    const { code, stderr } = await home.run(['hello', 'greet', 'Eve']);
    expect(code).toBe(2);
    expect(stderr).toContain('runtime --plugins hello hello greet Eve');
    expect((await home.run(['helo', 'greet'])).stderr).toContain('did you mean "hello"');
  });
});

describe('the foreground', () => {
  test('writes one line of JSON for each thing that happens, when asked to', async () => {
    const running = home.start(['--plugins', HELLO, '--format', 'json']);
    await running.says('"ready"');
    running.child.kill('SIGTERM');
    const { code, stdout, stderr } = await running.ended;
    expect(code).toBe(0);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; to?: string });
    expect(lines.find(({ type }) => type === 'ready')).toMatchObject({ plugins: 1, ms: expect.any(Number) });
    expect(lines.filter(({ type }) => type === 'plugin-state').map(({ to }) => to)).toEqual(
      expect.arrayContaining(['setup', 'ready', 'disposed']),
    );
    expect(JSON.parse(stderr.split('\n')[0] ?? '')).toMatchObject({ plugin: 'hello', msg: 'Hello, world.' });
  });

  test('says what it waits for while it stops, and ends once that is over', async () => {
    const slow = `const gate = Promise.withResolvers();
      ctx.commands.add({ name: 'slow go', summary: 'go on' }, () => gate.resolve(undefined));
      void ctx.track('a long night', gate.promise);`;
    const running = home.start(['--plugins', writePlugin('slow', slow)]);
    await running.says('ready in');
    running.child.kill('SIGTERM');
    await running.says('waiting for slow (quiescing): a long night');
    const status = await home.run(['status', '--format', 'json']);
    expect(JSON.parse(status.stdout)).toMatchObject({
      state: 'stopping',
      pending: [expect.stringContaining('a long night')],
    });
    running.child.kill('SIGINT');
    expect((await running.ended).code).toBe(130);
  });

  test('is stopped by runtime stop, which waits until it has', async () => {
    const running = home.start(['--plugins', HELLO]);
    await running.says('ready in');
    expect(await home.run(['stop'])).toMatchObject({ code: 0, stdout: `stopped (pid ${running.child.pid})\n` });
    expect((await running.ended).code).toBe(0);
  });

  test('stops when nobody reads its output any more', async () => {
    const running = home.start(['--plugins', HELLO]);
    await running.says('ready in');
    running.child.stdout?.destroy();
    running.child.stderr?.destroy();
    // The next line it writes finds the pipe broken.
    await home.run(['plugin', 'reload', 'hello']);
    expect((await running.ended).code).toBe(0);
  });

  test('survives a promise that a plugin forgot, and says whose mistake it looks like', async () => {
    const forgets = "setTimeout(() => { void Promise.reject(new Error('forgotten')); }, 1);";
    const running = home.start(['--plugins', writePlugin('careless', forgets)]);
    await running.says('forgotten');
    await running.says('ready in');
    expect((await home.run(['status'])).code).toBe(0);
  });
});

describe('plugins', () => {
  test('are reloaded with what is on disk now, and kept when that is broken', async () => {
    const folder = writePlugin('say', "ctx.commands.add({ name: 'say', summary: 'say' }, ({ io }) => io.out('one'));");
    const running = home.start(['--plugins', folder]);
    await running.says('ready in');
    expect((await home.run(['say'])).stdout).toBe('one\n');
    writePlugin('say', "ctx.commands.add({ name: 'say', summary: 'say' }, ({ io }) => io.out('two'));");
    expect(await home.run(['plugin', 'reload', 'say'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('the new code serves'),
    });
    expect((await home.run(['say'])).stdout).toBe('two\n');
    writeFileSync(join(folder, 'index.ts'), 'export default {');
    const broken = await home.run(['plugin', 'reload', 'say']);
    expect(broken).toMatchObject({ code: 1, stdout: expect.stringContaining('the old goes on') });
    expect(broken.stderr).toContain('CORE_ERR_PLUGIN_LOAD');
    expect((await home.run(['say'])).stdout).toBe('two\n');
    expect(await home.run(['plugin', 'reload', 'sya'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('did you mean "say"'),
    });
  });

  test('are reloaded by plugin dev when a file changes', async () => {
    const say = (word: string): string =>
      `ctx.commands.add({ name: 'say', summary: 'say' }, ({ io }) => io.out('${word}')); ctx.log.info('it says ${word}');`;
    const folder = writePlugin('say', say('one'));
    const running = home.start(['plugin', 'dev', folder]);
    await running.says('ready in');
    writePlugin('say', say('two'));
    await running.says('it says two');
    await expect.poll(async () => (await home.run(['say'])).stdout).toBe('two\n');
    writeFileSync(join(folder, 'index.ts'), 'nonsense here');
    await running.says('because:');
    expect((await home.run(['say'])).stdout).toBe('two\n');
  });

  test('are drawn as a graph before any of them runs, with every problem', async () => {
    const token = (id: string): string => `defineService<object>('${id}', { version: '1.0.0' })`;
    const base = writePlugin('base', `ctx.provide(${token('bus')}, {});`, {
      manifest: { provides: { bus: '1.0.0' } },
      definition: `provides: [${token('bus')}],`,
    });
    const user = writePlugin('user', '', {
      manifest: { requires: { bus: '^1.0.0', metrics: { range: '^1.0.0', optional: true } } },
      definition: `requires: { bus: needs(${token('bus')}, '^1.0.0'), metrics: optional(${token('metrics')}) },`,
    });
    const both = ['--plugins', `${user},${base}`];
    expect((await home.run([...both, 'plugin', 'graph'])).stdout).toBe(
      '1.\n   base\n2.\n   user\n     ├─ bus ^1.0.0 from base\n     └─ metrics ^1.0.0 (optional) from nobody\n',
    );
    expect((await home.run([...both, 'plugin', 'graph', '--dot'])).stdout).toContain('"user" -> "base" [label="bus"]');
    const running = home.start(both);
    await running.says('ready in');
    const json = JSON.parse((await home.run(['plugin', 'graph', '--format', 'json'])).stdout);
    expect(json.waves).toEqual([['base'], ['user']]);
    const alone = await home.run(['--plugins', user, 'plugin', 'graph']);
    expect(alone).toMatchObject({ code: 1, stderr: expect.stringContaining('CORE_ERR_GRAPH_MISSING') });
  });
});

describe('the configuration of plugins', () => {
  test('is checked by their own schemas, with the line of each mistake', async () => {
    writeFileSync(
      join(home.folder, 'runtime.config.yaml'),
      `plugins: [${HELLO}]\nsettings:\n  hello:\n    config:\n      greetign: Hi\n      greeting: ''\n  helo: {}\n`,
    );
    const { code, stderr } = await home.run(['config', 'check']);
    expect(code).toBe(2);
    expect(stderr).toContain(
      'runtime.config.yaml:5: settings.hello.config: unknown key "greetign"; did you mean "greeting"?',
    );
    expect(stderr).toContain('runtime.config.yaml:6: settings.hello.config.greeting: ');
    expect(stderr).toContain('"helo"');
    writeFileSync(join(home.folder, 'runtime.config.yaml'), `plugins: [${HELLO}]\n`);
    expect(await home.run(['config', 'check'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('plugins: hello'),
    });
  });
});

describe('the launcher', () => {
  /** A Node of before the minimum, if this machine has one. */
  const old = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'node'))
    .find(
      (node) =>
        existsSync(node) && /^v(?:1\d|20|22)\./.test(spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout),
    );
  if (old === undefined) console.log('skipped: no older Node on this machine');

  test.skipIf(old === undefined)(
    'finds the right Node when it is started by an older one, and hands on signals',
    async () => {
      const argv = [join(ROOT, 'sdk/bin/runtime.mjs'), '--plugins', HELLO];
      const child = spawn(old ?? '', argv, { env: home.env, cwd: home.folder, stdio: ['ignore', 'pipe', 'inherit'] });
      let out = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        out += text;
      });
      await expect.poll(() => out, { timeout: 15_000 }).toContain('ready in');
      child.kill('SIGINT');
      expect((await once(child, 'exit'))[0]).toBe(0);
    },
  );

  test.skipIf(old === undefined)('says what to install when there is none', () => {
    const alone = join(home.folder, 'sdk/bin');
    mkdirSync(alone, { recursive: true });
    for (const file of ['runtime.mjs', 'rerun.mjs']) {
      writeFileSync(join(alone, file), readFileSync(join(ROOT, 'sdk/bin', file)));
    }
    const { status, stderr } = spawnSync(old ?? '', [join(alone, 'runtime.mjs')], { encoding: 'utf8', env: home.env });
    expect(status).toBe(1);
    expect(stderr).toMatch(/needs Node 24\.12 or newer; this is .*\n {2}→ npm install node@24/);
  });
});
