// Makes the files of guest-bundle.ts in the folder that is named in the arguments, and prints what the program is made of.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, extname, isAbsolute, join } from 'node:path';
import { build, type InlineConfig, type Plugin } from 'vite';
import { GUEST_FILES } from './guest-bundle.ts';

const EXTENSION = extname(import.meta.filename);
const CONDITIONS = ['node', 'module-sync', ...(EXTENSION === '.ts' ? ['@runtime/source'] : [])];
const MAIN = join(import.meta.dirname, '../../guest/src/main.ts');

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
writeFileSync(join(folder, GUEST_FILES.program), wrapped(ascii(await compile())));
writeFileSync(join(folder, GUEST_FILES.loader), LOADER);
copyFileSync(nativeKoffi(), join(folder, GUEST_FILES.native));
makeCache(folder);

async function compile(): Promise<string> {
  const chunks = [await build(config())].flat().flatMap((one) => ('output' in one ? one.output : []));
  const [chunk] = chunks;
  if (chunks.length !== 1 || chunk?.type !== 'chunk') throw new TypeError('the program is not one file');
  console.log(JSON.stringify(chunk.moduleIds.filter((id) => isAbsolute(id))));
  return chunk.code;
}

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

function config(): InlineConfig {
  return {
    configFile: false,
    envDir: false,
    publicDir: false,
    logLevel: 'silent',
    root: import.meta.dirname,
    ssr: { noExternal: true, target: 'node', resolve: { conditions: CONDITIONS } },
    build: {
      ssr: true,
      write: false,
      target: 'esnext',
      minify: false,
      rolldownOptions: {
        input: MAIN,
        output: {
          format: 'cjs',
          codeSplitting: false,
          // Names stay, for those who read a stack.
          minify: { mangle: false, compress: true, codegen: { removeWhitespace: true } },
        },
      },
    },
    plugins: [placesPlugin()],
  };
}

/** What a module finds by its own place, it finds beside the program; of koffi, only the native half is used. */
function placesPlugin(): Plugin {
  return {
    name: 'runtime:guest-places',
    enforce: 'pre',
    transform(code, id) {
      if (!isAbsolute(id) || !code.includes('import.meta.')) return null;
      return code
        .replaceAll(/import\.meta\.(?:url|filename)/g, '__filename')
        .replaceAll('import.meta.dirname', '__dirname')
        .replaceAll("('koffi')", `('./${GUEST_FILES.native}')`);
    },
  };
}

function nativeKoffi(): string {
  const require = createRequire(createRequire(import.meta.url).resolve('@runtime/sdk/package.json'));
  require('koffi');
  const file = Object.keys(require.cache).find((name) => basename(name) === 'koffi.node');
  // The compiler has native halves, too.
  if (file === undefined) throw new TypeError('koffi has no native half');
  return file;
}

/** As Node wraps CommonJS. */
function wrapped(code: string): string {
  return `(function(exports,require,module,__filename,__dirname){${code}\n})`;
}

/** V8 keeps a text of Latin-1 in half the memory, and one that is ASCII is that in UTF-8, too. */
function ascii(code: string): string {
  return code.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
