// `vmc` and `vsh` are `runtime vmc` and `runtime vsh`.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { Home, ROOT } from './command-line.ts';

const SDK = join(ROOT, 'sdk');
const { bin } = JSON.parse(readFileSync(join(SDK, 'package.json'), 'utf8')) as { bin: Record<string, string> };

test.each(['vmc list', 'vsh --vm_name=a -- true'])('%s', async (line) => {
  using home = new Home();
  const [program = '', ...args] = line.split(' ');
  const file = join(SDK, bin[program] ?? '');
  const ended = promisify(execFile)(process.execPath, [file, ...args], { env: home.env, cwd: ROOT });
  const error = await ended.catch((e: unknown) => e);
  const command = program === 'vmc' ? 'vmc list' : program;
  expect(error).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`command "${command}" is one of plugin crostini`),
  });
});
