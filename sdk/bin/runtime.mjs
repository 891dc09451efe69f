#!/usr/bin/env node
// @ts-check
// The `runtime` command: makes sure of the right Node, then starts src/cli (in a checkout) or dist/cli. Plain JavaScript
// that an old Node understands, too.

import { existsSync } from 'node:fs';
import module from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { runInstead } from './rerun.mjs';

const MIN_NODE = [24, 12];
/** Selects the sources of core and sdk in their package.json `exports`. */
const SOURCE_CONDITION = '--conditions=@runtime/source';
/** Set for the process that replaces this one, so that a wrong binary cannot make it go round for ever. */
const GUARD = 'RUNTIME_LAUNCHED_BY';

const self = fileURLToPath(import.meta.url);
const packageRoot = dirname(dirname(self));
const sources = join(packageRoot, 'src/cli/main.ts');
const inCheckout = existsSync(sources);
const flags = inCheckout && !process.execArgv.includes(SOURCE_CONDITION) ? [SOURCE_CONDITION] : [];

if (!isNewEnough(process.versions.node)) {
  const node = findNode(packageRoot);
  if (node === undefined || process.env[GUARD] !== undefined) {
    const wanted = MIN_NODE.join('.');
    process.stderr.write(
      `runtime needs Node ${wanted} or newer; this is ${process.versions.node} (${process.execPath})\n`,
    );
    process.stderr.write(
      `  → npm install node@${MIN_NODE[0]} beside @runtime/sdk, or put a newer node first in PATH\n`,
    );
    process.exit(1);
  }
  process.env[GUARD] = process.execPath;
  await runInstead(node, [...process.execArgv, ...flags, self, ...process.argv.slice(2)]);
} else if (flags.length > 0) {
  await runInstead(process.execPath, [...process.execArgv, ...flags, self, ...process.argv.slice(2)]);
}
delete process.env[GUARD];

// Compiled code and stripped types are kept, which halves the start.
module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'runtime/compile'));

const main = await import(pathToFileURL(inCheckout ? sources : join(packageRoot, 'dist/cli/main.js')).href);
await main.main();

/** @param {string} version */
function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = MIN_NODE;
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

/**
 * The binary of the npm package `node`, in a node_modules at or above `folder`.
 * @param {string} folder
 * @returns {string | undefined}
 */
function findNode(folder) {
  for (let at = folder, parent = dirname(at); ; at = parent, parent = dirname(at)) {
    const binary = join(at, 'node_modules/node/bin/node');
    if (existsSync(binary)) return binary;
    if (parent === at) return undefined;
  }
}
