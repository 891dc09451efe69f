// Makes the files of guest-bundle.ts in the folder that is named in the arguments, and prints what the programs are made of.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nativeKoffi } from '@runtime/sdk/compile';
import { GUEST_FILES } from './guest-bundle.ts';
import { GUEST_PROGRAMS, guestProgram } from './guest-program.ts';

/**
 * Starts the program from what V8 made of it, and without that when V8 does not take it (another Node). As `--warm-up
 * FILE` it writes that down after the program has run: V8 then knows the functions that are needed, too.
 */
const LOADER = `'use strict';
const { readFileSync, writeFileSync } = require('node:fs');
const { Script } = require('node:vm');
const filename = __dirname + '/${GUEST_FILES.program}';
let cachedData;
try {
  cachedData = readFileSync(__dirname + '/${GUEST_FILES.cache}');
} catch {}
// V8 keeps the name, which is to be the same wherever this was made.
const script = new Script(readFileSync(filename, 'latin1'), { filename: '/opt/runtime/${GUEST_FILES.program}', cachedData });
globalThis.runtimeCacheRejected = script.cachedDataRejected;
const run = script.runInThisContext();
const [, , flag, file] = process.argv;
run(module.exports, require, module, filename, __dirname);
if (flag === '--warm-up') module.exports.warmUp().then(() => writeFileSync(file, script.createCachedData())).then(() => process.exit());
`;

/** So that V8 makes the same bytes of the same run: names lie in its tables by a hash that is another each time. */
const SAME_EACH_TIME = ['--hash-seed=1', '--random-seed=1'];
/**
 * V8's header says which flags it ran with: u32@12, after its magic, version and the length of the source
 * (SerializedCodeData of src/snapshot/code-serializer.h). Those above change nothing of what was compiled.
 */
const FLAGS_AT = 12;
const FLAGS_BYTES = 4;

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new TypeError('no folder was named');
mkdirSync(folder, { recursive: true });
const sources = new Set<string>();
for (const name of GUEST_PROGRAMS) {
  const program = await guestProgram(name);
  for (const source of program.sources) sources.add(source);
  writeFileSync(join(folder, GUEST_FILES[name]), program.code);
}
console.log(JSON.stringify([...sources]));
writeFileSync(join(folder, GUEST_FILES.loader), LOADER);
const native = nativeKoffi();
if (native === undefined) throw new TypeError('koffi has no native half');
copyFileSync(native, join(folder, GUEST_FILES.native));
makeCache(folder);

/** Were it another each time, the image would be so, too: then rather none. */
function makeCache(folder: string): void {
  const [first, second, natural] = [SAME_EACH_TIME, SAME_EACH_TIME, []].map((flags) => cacheOf(folder, flags));
  if (first === undefined || second === undefined || natural === undefined || !first.equals(second)) return;
  natural.copy(first, FLAGS_AT, FLAGS_AT, FLAGS_AT + FLAGS_BYTES);
  writeFileSync(join(folder, GUEST_FILES.cache), first);
}

function cacheOf(folder: string, flags: readonly string[]): Buffer {
  const file = join(folder, '.cache');
  const loader = join(folder, GUEST_FILES.loader);
  execFileSync(process.execPath, [...flags, loader, '--warm-up', file], { stdio: 'inherit', timeout: 10_000 });
  const bytes = readFileSync(file);
  rmSync(file);
  return bytes;
}
