// @ts-check
// Runs a command in place of this process. Plain JavaScript that an old Node understands, too.

import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/**
 * Never returns: where Node can replace its own process (execve(2)) it does; an older one waits for a child, hands on
 * signals, and ends as the child ended.
 * @param {string} file
 * @param {readonly string[]} args
 * @returns {Promise<never>}
 */
export async function runInstead(file, args) {
  if (typeof process.execve === 'function') process.execve(file, [file, ...args], stringValues(process.env));
  const child = spawn(file, args, { stdio: 'inherit' });
  // ^C may so reach the child twice, from the terminal too; `runtime` takes two that close for one.
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'])) {
    process.on(signal, () => child.kill(signal));
  }
  /** @type {number} */
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (status, signal) => resolve(signal === null ? (status ?? 1) : 128 + constants.signals[signal]));
  });
  process.exit(code);
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {Record<string, string>}
 */
function stringValues(env) {
  /** @type {Record<string, string>} */
  const out = {};
  for (const [name, value] of Object.entries(env)) if (value !== undefined) out[name] = value;
  return out;
}
