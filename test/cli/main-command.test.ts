// What a plugin is for: the command that `runtime --plugins …` runs on a terminal.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Home, ROOT } from './command-line.ts';

const isMissing = spawnSync('script', ['--version']).error !== undefined;
if (isMissing) console.log('skipped in part: script (util-linux) is not installed');

let home: Home;
let plugin: string;
beforeEach(() => {
  home = new Home();
  plugin = join(home.folder, 'counter');
  mkdirSync(plugin);
  const manifest = {
    plugin: 'counter',
    core: '^0.1.0',
    source: './index.ts',
    commands: [{ name: 'count', summary: 'count', main: true }],
  };
  const about = { name: 'counter', version: '1.0.0', type: 'module', main: './index.ts', runtime: manifest };
  writeFileSync(join(plugin, 'package.json'), JSON.stringify(about));
  writeFileSync(
    join(plugin, 'index.ts'),
    `import { definePlugin, defineState } from '@runtime/sdk';
     export default definePlugin({
       name: 'counter',
       state: defineState({ schema: 1 }),
       setup(ctx) {
         ctx.commands.add({ name: 'count', summary: 'count', main: true, args: [{ name: 'how', summary: 'long or not' }] }, async ({ args, io, signal }) => {
           const count = ((await ctx.state.read('count')) ?? 0) + 1;
           await ctx.state.write('count', count);
           await io.out(\`counted \${count} in \${process.pid}\`);
           if (args[0] === 'long') {
             await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
           }
           return 7;
         });
       },
     });`,
  );
});
afterEach(() => home[Symbol.dispose]());

async function onTerminal(args: string): Promise<string> {
  const command = `'${process.execPath}' --conditions=@runtime/source '${ROOT}/sdk/bin/runtime.mjs' ${args}; echo code=$?`;
  const child = spawn('script', ['-qfec', command, '/dev/null'], {
    env: { ...home.env, TERM: 'xterm' },
    cwd: home.folder,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(child, 'close');
  return stripVTControlCharacters(text);
}

describe('the main command', () => {
  test('keeps its state from one time to the next, with the code that it ends with', async () => {
    const first = await home.run(['--plugins', plugin, 'count']);
    expect([first.code, first.stdout]).toEqual([7, expect.stringMatching(/^counted 1 /)]);
    const second = await home.run(['--plugins', plugin, 'count']);
    expect(second.stdout).toMatch(/^counted 2 /);
  });

  test('ends without a word when it is interrupted', async () => {
    const long = home.start(['--plugins', plugin, 'count', 'long']);
    await long.says('counted 1');
    long.child.kill('SIGINT');
    expect(await long.ended).toMatchObject({ code: 130, stderr: '' });
  });

  test('runs in the runtime that runs', async () => {
    const runtime = home.start(['--plugins', plugin]);
    await runtime.says('ready in');
    const { stdout, code } = await home.run(['--plugins', plugin, 'count']);
    expect([stdout, code]).toEqual([`counted 1 in ${runtime.child.pid}\n`, 7]);
  });

  test.skipIf(isMissing)('is what happens on a terminal without a command', async () => {
    expect(await onTerminal(`--plugins '${plugin}'`)).toMatch(/counted 1 in \d+[\s\S]*code=7/);
  });

  test.skipIf(isMissing)('does not happen when serving is asked for', async () => {
    const served = onTerminal(`--plugins '${plugin}' serve`);
    await expect.poll(async () => (await home.run(['count'])).stdout, { timeout: 15_000 }).toMatch(/^counted 1 /);
    expect((await home.run(['stop'])).code).toBe(0);
    expect(await served).toMatch(/counter +ready/);
  });
});
