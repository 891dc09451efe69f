import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { HELLO, Home, ROOT } from './command-line.ts';

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

/** A process that ended and was not collected yet is not alive. */
function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/** A plugin on disk; `body` is that of its setup. */
function writePlugin(name: string, body: string, before = ''): string {
  const folder = join(home.folder, name);
  mkdirSync(folder);
  const runtime = { plugin: name, core: '^0.1.0', source: './index.ts' };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, version: '1.0.0', type: 'module', runtime }));
  const source = `import { definePlugin } from '@runtime/sdk';
${before}
export default definePlugin({ name: '${name}', async setup(ctx) { ${body} } });\n`;
  writeFileSync(join(folder, 'index.ts'), source);
  return folder;
}

describe('runtime --plugins', () => {
  test('runs until it is told to stop, and others can talk to it meanwhile', async () => {
    const running = home.start(['--plugins', HELLO]);
    await running.says('ready in');
    expect(running.stdout + running.stderr).toContain('Hello, world.');
    const status = await home.run(['status', '--format', 'json']);
    expect(JSON.parse(status.stdout)).toMatchObject({ state: 'running', plugins: [{ name: 'hello', state: 'ready' }] });
    const greeting = await home.run(['hello', 'greet', 'Bob', '--loud']);
    expect(greeting).toMatchObject({ code: 0, stdout: 'HELLO, BOB.\n' });
    const second = await home.run(['--plugins', HELLO]);
    expect(second).toMatchObject({ code: 2, stderr: expect.stringContaining('CORE_ERR_RUNTIME_RUNNING') });
    running.child.kill('SIGINT');
    expect((await running.ended).code).toBe(0);
    expect(readdirSync(join(home.folder, 'runtime'))).not.toContain('default.sock');
  });

  test('with a command runs that, and stops', async () => {
    const ended = await home.run(['--plugins', HELLO, 'hello', 'greet', 'Ann']);
    expect(ended).toMatchObject({ code: 0, stdout: 'Hello, Ann.\n' });
  });

  test('passes on the exit code of a command', async () => {
    const folder = writePlugin('coded', "ctx.commands.add({ name: 'coded', summary: 'fail' }, () => 42);");
    expect((await home.run(['--plugins', folder, 'coded'])).code).toBe(42);
  });

  test('names every problem at once, each with what to do', async () => {
    const polite = join(ROOT, 'examples/polite-hello');
    const missing = await home.run(['--plugins', 'nope,./neither']);
    expect(missing.code).toBe(2);
    expect(missing.stderr.match(/CORE_ERR_PLUGIN_NOT_FOUND/g)).toHaveLength(2);
    const clash = await home.run(['--plugins', `${HELLO},${polite}`]);
    expect(clash.stderr).toContain('service "greeter" is provided by hello, polite-hello');
    expect(clash.stderr).toContain('services: { greeter: <plugin> }');
    const settled = home.start(['--plugins', `${HELLO},${polite}`, '--set', 'services.greeter=polite-hello']);
    await settled.says('ready in');
    const services = await home.run(['inspect', 'services', '--format', 'json']);
    expect(JSON.parse(services.stdout)).toMatchObject([{ service: 'greeter', provider: 'polite-hello' }]);
  });

  test('a second ctrl+c ends at once and says what still held on', async () => {
    const body = `await ctx.processes.spawn({ key: 'child', kind: 'test', argv: ['sleep', '1000'] });
      void ctx.track('saving the world', new Promise(() => {}));`;
    const running = home.start(['--plugins', writePlugin('stubborn', body)]);
    await running.says('ready in');
    const inspected = await home.run(['inspect', 'processes', '--format', 'json']);
    const [{ pid }] = JSON.parse(inspected.stdout) as [{ pid: number }];
    running.child.kill('SIGINT');
    await running.says('saving the world');
    running.child.kill('SIGINT');
    const ended = await running.ended;
    expect(ended.code).toBe(130);
    expect(ended.stderr).toContain('stubborn (quiescing): saving the world');
    await expect.poll(() => isAlive(pid)).toBe(false);
  });

  test('runs a plugin in a process of its own by configuration', async () => {
    const running = home.start(['--plugins', HELLO, '--isolation', 'hello=process']);
    await running.says('ready in');
    const processes = JSON.parse((await home.run(['inspect', 'processes', '--format', 'json'])).stdout);
    expect(processes).toMatchObject([{ plugin: 'hello', kind: 'plugin-host' }]);
    expect((await home.run(['hello', 'greet', 'Cy'])).stdout).toBe('Hello, Cy.\n');
  });

  test.skipIf(spawnSync('script', ['--version']).error !== undefined)(
    'shows a live view on a terminal, and leaves it as it was',
    async () => {
      const command = `${process.execPath} --conditions=@runtime/source ${ROOT}/sdk/bin/runtime.mjs --plugins ${HELLO}`;
      const script = ['-qec', `timeout --foreground -s INT 2 ${command}`, '/dev/null'];
      const { stdout } = spawnSync('script', script, {
        env: { ...home.env, TERM: 'xterm', NO_COLOR: '1' },
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      expect(stripVTControlCharacters(stdout)).toMatch(/PLUGIN\s+STATE[^\n]*\n\s*hello\s+ready/);
      // The cursor is hidden while it draws, and shown in the end.
      expect(stdout.lastIndexOf('\x1b[?25h')).toBeGreaterThan(stdout.lastIndexOf('\x1b[?25l'));
    },
  );
});

describe('looking without running', () => {
  test('plugins are listed, explained and drawn without their code', async () => {
    const data = join(home.folder, 'data/runtime/plugins');
    mkdirSync(data, { recursive: true });
    const proof = join(home.folder, 'ran');
    writePlugin('quiet', '', `import { writeFileSync } from 'node:fs'; writeFileSync('${proof}', '');`);
    const spec = join(home.folder, 'quiet');
    const info = await home.run(['plugin', 'info', spec, '--format', 'json']);
    expect(JSON.parse(info.stdout)).toMatchObject({ plugin: 'quiet', version: '1.0.0' });
    expect((await home.run(['--plugins', spec, 'plugin', 'list'])).code).toBe(0);
    expect((await home.run(['--plugins', spec, 'plugin', 'graph'])).code).toBe(0);
    expect(existsSync(proof)).toBe(false);
  });

  test('without a runtime it says how to start one', async () => {
    const { code, stderr } = await home.run(['status']);
    expect(code).not.toBe(0);
    expect(stderr).toContain('runtime --plugins <names>');
    const json = await home.run(['status', '--format', 'json']);
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'CORE_ERR_CONTROL_UNREACHABLE' } });
  });

  test('the doctor checks the machine and the plugins', async () => {
    const check = "ctx.checks.add('gauge', () => ({ status: 'fail', found: 'it is broken', remedy: 'Mend it.' }));";
    const running = home.start(['--plugins', writePlugin('gauge', check)]);
    await running.says('ready in');
    const { code, stdout } = await home.run(['doctor', '--format', 'json']);
    expect(code).toBe(1);
    const reports = JSON.parse(stdout) as { name: string; plugin: string; status: string }[];
    expect(reports).toContainEqual(expect.objectContaining({ name: 'gauge', plugin: 'gauge', status: 'fail' }));
    expect(reports.map(({ name }) => name)).toContain('node');
    // Those that are named and run are asked, not started a second time: by this name they could not be found.
    const named = await home.run(['--plugins', 'gauge', 'doctor']);
    expect(named.stdout).toMatch(/^gauge\nfail {2}gauge .* it is broken\n.*→ Mend it\.$/m);
  });

  test('an event leads back to what caused it', async () => {
    const running = home.start(['--plugins', HELLO]);
    await running.says('ready in');
    const tracing = home.start(['trace', '--event', 'hello:greeted', '--format', 'json']);
    // The subscription has no sign of its own; greet until it is there.
    while (tracing.stdout === '') await home.run(['hello', 'greet', 'Di']);
    const { record, id = record?.id } = JSON.parse(tracing.stdout.split('\n')[0] ?? '') as {
      id?: number;
      record?: { id: number };
    };
    const why = await home.run(['trace', '--why', String(id)]);
    expect(why.stdout).toMatch(/command.*hello greet[\s\S]*←\d+.*hello:greeted/);
    tracing.child.kill('SIGINT');
    await tracing.ended;
  });
});

describe('configuration', () => {
  test('is layered: user, project, environment, flags; and says where each value is from', async () => {
    mkdirSync(join(home.folder, 'config/runtime'), { recursive: true });
    writeFileSync(join(home.folder, 'config/runtime/config.yaml'), 'log: { level: warn }\nonFailure: continue\n');
    writeFileSync(join(home.folder, 'runtime.config.yaml'), 'log: { level: error }\n');
    const shown = await home.run(['config', 'show']);
    expect(shown.stdout).toMatch(/log\.level\s+.*error.*runtime\.config\.yaml:1/);
    expect(shown.stdout).toMatch(/onFailure\s+.*continue.*config\.yaml:2/);
    const flagged = await home.run(['--log-level', 'debug', 'config', 'show']);
    expect(flagged.stdout).toMatch(/log\.level\s+.*debug.*--log-level/);
  });

  test('refuses what it does not know, with place and nearest name', async () => {
    writeFileSync(join(home.folder, 'runtime.config.yaml'), '# mine\npluggins: [hello]\n');
    const { code, stderr } = await home.run(['config', 'check']);
    expect(code).toBe(2);
    expect(stderr).toContain('runtime.config.yaml:2:1');
    expect(stderr).toContain('did you mean "plugins"?');
  });

  test('enable and disable change the file and keep what people wrote in it', async () => {
    const file = join(home.folder, 'config/runtime/config.yaml');
    mkdirSync(join(home.folder, 'config/runtime'), { recursive: true });
    writeFileSync(file, '# mine\nlog: { level: warn } # quiet\n');
    expect((await home.run(['plugin', 'enable', HELLO])).code).toBe(0);
    expect(readFileSync(file, 'utf8')).toContain('# mine\nlog: { level: warn } # quiet\n');
    expect(readFileSync(file, 'utf8')).toContain(HELLO);
    const running = home.start([]);
    await running.says('ready in');
    expect((await home.run(['plugin', 'disable', 'hello'])).code).toBe(0);
    expect(readFileSync(file, 'utf8')).not.toContain(HELLO);
    expect(JSON.parse((await home.run(['status', '--format', 'json'])).stdout)).toMatchObject({ plugins: [] });
  });
});

describe('completion', () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const isMissing = spawnSync(shell, ['-c', 'true']).error !== undefined;
    if (isMissing) console.log(`skipped: ${shell} is not installed`);
    test.skipIf(isMissing)(`${shell} takes the script`, async () => {
      const { code, stdout } = await home.run(['completion', shell]);
      expect(code).toBe(0);
      const file = join(home.folder, 'completion');
      writeFileSync(file, stdout);
      const checked = spawnSync(shell, ['-n', file], { encoding: 'utf8' });
      expect(checked).toMatchObject({ status: 0, stderr: '' });
    });
  }
});
