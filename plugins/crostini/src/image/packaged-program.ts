// Programs out of unpacked packages, run on this machine, as not every machine has them.

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { elfNeeds } from '@runtime/sdk/image';

const run = promisify(execFile);
const TIMEOUT_MS = 60_000;

/**
 * With its own dynamic loader and libraries.
 * @param tree folder of the unpacked packages
 * @param program path below it
 * @param name what the program is to think it is called; default: as its file
 * @throws Error with what it said
 */
export async function runPackaged(
  tree: string,
  program: string,
  args: readonly string[],
  name: string = basename(program),
): Promise<void> {
  const file = join(tree, program);
  const interpreter = elfNeeds(readFileSync(file))?.interpreter ?? '/lib/ld.so';
  const libraries = readdirSync(join(tree, 'usr/lib')).filter((folder) => folder.includes('-linux-gnu'));
  const paths = libraries.map((folder) => join(tree, 'usr/lib', folder)).join(':');
  const argv = ['--argv0', name, '--library-path', paths, file, ...args];
  await run(join(tree, 'usr', interpreter), argv, { env: { LC_ALL: 'C' }, timeout: TIMEOUT_MS });
}
