// The time from the start of a process until it says that it is ready.

import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Side, Timed } from './benchmark.ts';

export const ROOT: string = join(import.meta.dirname, '..');
/** Of the npm package `node`, as `npm start` uses it. */
const NODE = join(ROOT, 'node_modules/node/bin/node');

export interface Launch {
  readonly argv: readonly [file: string, ...args: string[]];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Occurs in its output once it is ready. */
  readonly ready: string;
}

/** One start for each iteration, one after the other; the time it takes to end again does not count. */
export function starting(launch: Launch): Side {
  return async (iterations) => {
    let ns = 0;
    for (let i = 0; i < iterations; i++) ns += await startOnce(launch);
    return new Timed(ns);
  };
}

async function startOnce({ argv: [file, ...args], cwd, env, ready }: Launch): Promise<number> {
  const startedAt = process.hrtime.bigint();
  // A group of its own, so that a wrapper such as npm ends with what it started.
  const child = spawn(file, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let output = '';
  const readyAt = await new Promise<bigint>((resolve, reject) => {
    const onData = (chunk: Buffer): void => {
      output += chunk.toString();
      if (output.includes(ready)) resolve(process.hrtime.bigint());
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);
    child.once('error', reject);
    child.once('exit', (code) =>
      reject(new Error(`${file} ended with exit code ${code} before it was ready:\n${output}`)),
    );
  });
  if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
  await ended;
  return Number(readyAt - startedAt);
}

/** Nothing of the user's configuration, and room for the control socket and caches. */
export function ownEnvironment(folder: string): NodeJS.ProcessEnv {
  const places = ['XDG_RUNTIME_DIR', 'XDG_CONFIG_HOME', 'XDG_STATE_HOME', 'XDG_DATA_HOME', 'XDG_CACHE_HOME'];
  const own: Record<string, string> = {};
  for (const name of places) {
    own[name] = join(folder, name.toLowerCase());
    mkdirSync(own[name], { mode: 0o700 });
  }
  return { ...process.env, ...own };
}

/** `runtime --plugins …` as it is run in a checkout. */
export function runtimeCommand(plugins: readonly string[]): readonly [string, ...string[]] {
  return [NODE, join(ROOT, 'sdk/bin/runtime.mjs'), '--format', 'json', '--plugins', plugins.join(',')];
}

/** What ours is beside: a process of the same Node that only says that it is there. */
export const EMPTY_NODE: readonly [string, ...string[]] = [
  NODE,
  '-e',
  "console.log('ready'); setInterval(() => {}, 1e6)",
];
