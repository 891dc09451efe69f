// Runs npm, which comes with Node but not with the npm package `node`.

import { type ExecFileException, execFile } from 'node:child_process';
import { delimiter } from 'node:path';
import { errors } from '../errors.ts';

/** A first install may fetch a few hundred MB over a slow line. */
const TIMEOUT_MS = 15 * 60_000;
const MAX_OUTPUT = 16 * 1024 * 1024;
const SHOWN_LINES = 20;

/** @returns its standard output. @throws SDK_ERR_NPM */
export function npm(args: readonly string[], cwd: string): Promise<string> {
  return run('npm', args, cwd, (why) =>
    errors.SDK_ERR_NPM({ details: { command: ['npm', ...args].join(' '), folder: cwd, why } }),
  );
}

/** @param failure makes the error from why it failed */
export function run(
  file: string,
  args: readonly string[],
  cwd: string,
  failure: (why: string) => Error,
): Promise<string> {
  const options = { cwd, env: environment(), timeout: TIMEOUT_MS, maxBuffer: MAX_OUTPUT };
  return new Promise((resolve, reject) => {
    execFile(file, args, options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(failure(explain(file, error, `${stdout}\n${stderr}`)));
    });
  });
}

function explain(file: string, error: ExecFileException, output: string): string {
  if (error.code === 'ENOENT') return `there is no command "${file}"`;
  if (error.killed === true) return `it did not end within ${TIMEOUT_MS / 60_000} minutes`;
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  return lines.slice(-SHOWN_LINES).join('\n') || error.message;
}

/** Without what an outer `npm run` says of its own package; npm's configuration stays. */
function environment(): NodeJS.ProcessEnv {
  const ofOuter = /^npm_(?:package_|lifecycle_|command$|config_local_prefix$)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ofOuter.test(name)));
}

/** PATH as the user's shell has it, without the folders that `npm run` puts before it. */
export function userPath(): string {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return folders.filter((folder) => !folder.endsWith('node_modules/.bin')).join(delimiter);
}
