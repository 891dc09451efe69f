// Compiles the host of device processes together with a device into one small program, for each of those named in the
// arguments: a JSON list of `CompileJob`. A process of its own, since the compiler takes 100 MB.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { extname, isAbsolute, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Plugin } from 'vite';
import { compileProgram, nativeKoffi } from '../../compile/index.ts';
import { type CompileJob, ENTRY, type HostRecord, RECORD } from './compiled-host.ts';
import { deviceProcess } from './host-argv.ts';
import { WARM_VARIABLE } from './host-program.ts';

const PROGRAM = '\0device-program';
/** `.ts` when the sdk runs from its sources. */
const EXTENSION = extname(import.meta.filename);
const HOST = join(import.meta.dirname, `host-program${EXTENSION}`);
/** Loads modules as they are in the files, and so stays among them. */
const MODULE_LOADER = pathToFileURL(join(import.meta.dirname, `device-module${EXTENSION}`)).href;
const WARM_MS = 30_000;
/** Of the hash of a program that is its name. */
const STAMP_LENGTH = 16;
/** Placeholder of that name in the program itself. */
const STAMP = '__RUNTIME_HOST_STAMP__';

const NATIVE = nativeKoffi();

for (const job of JSON.parse(process.argv[2] ?? '[]') as readonly CompileJob[]) await compile(job);

async function compile({ file, folder }: CompileJob): Promise<void> {
  const startedAt = Date.now();
  const inputs = new Set<string>();
  const names = { entry: ENTRY, chunk: '[name].cjs' };
  const output = await compileProgram({ input: PROGRAM, plugin: programPlugin(file, inputs), names });
  const files = output.map(({ name, code }) => [name, code] as const);
  const record = describe([...inputs], startedAt);
  // It was changed meanwhile, and who knows which of the two was read.
  if (record === undefined) return;
  const hash = createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, STAMP_LENGTH);
  write(folder, hash, files, record);
  warm(join(folder, hash, ENTRY));
}

/** Leaves compiled code of the program in Node's cache; without, it is only slower. */
function warm(file: string): void {
  const [node, ...args] = deviceProcess('warm', file).argv;
  spawnSync(node, args, { env: { ...process.env, [WARM_VARIABLE]: '1' }, stdio: 'ignore', timeout: WARM_MS });
}

/** Whole or not at all: others may be compiling the same. */
function write(
  folder: string,
  stamp: string,
  files: readonly (readonly [name: string, code: string])[],
  inputs: HostRecord['inputs'],
): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const own = join(folder, `.${process.pid}`);
  rmSync(own, { recursive: true, force: true });
  mkdirSync(own);
  for (const [name, code] of files) writeFileSync(join(own, name), code.replaceAll(STAMP, stamp));
  rmSync(join(folder, stamp), { recursive: true, force: true });
  renameSync(own, join(folder, stamp));
  const record: HostRecord = { stamp, inputs };
  writeFileSync(join(folder, `.${process.pid}.json`), JSON.stringify(record));
  renameSync(join(folder, `.${process.pid}.json`), join(folder, RECORD));
  const old = readdirSync(folder, { withFileTypes: true }).filter(
    (entry) => entry.isDirectory() && entry.name !== stamp,
  );
  for (const { name } of old) rmSync(join(folder, name), { recursive: true, force: true });
}

function describe(paths: readonly string[], startedAt: number): HostRecord['inputs'] | undefined {
  const inputs = paths.map((path) => {
    const { mtimeMs, size } = statSync(path);
    return { path, mtimeMs, size };
  });
  return inputs.some(({ mtimeMs }) => mtimeMs >= startedAt) ? undefined : inputs;
}

function programPlugin(file: string, inputs: Set<string>): Plugin {
  const text = JSON.stringify;
  return {
    name: 'runtime:device-program',
    enforce: 'pre',
    resolveId(id) {
      if (id === PROGRAM) return id;
      return id === MODULE_LOADER ? { id, external: true } : null;
    },
    load(id) {
      if (id !== PROGRAM) return null;
      return `
        import device from ${text(file)};
        import { runDeviceHost } from ${text(HOST)};
        const load = async (root, file) => (await import(${text(MODULE_LOADER)})).loadDevice(root, file);
        runDeviceHost(load, { device, file: ${text(file)}, stamp: ${text(STAMP)} });`;
    },
    transform(code, id) {
      if (!isAbsolute(id)) return null;
      inputs.add(id);
      if (NATIVE !== undefined) inputs.add(NATIVE);
      if (!code.includes('import.meta.')) return null;
      // As if it were where it came from: what it finds by its own place is not in the program.
      return code
        .replaceAll('import.meta.url', text(pathToFileURL(id).href))
        .replaceAll('import.meta.dirname', text(join(id, '..')))
        .replaceAll('import.meta.filename', text(id))
        .replaceAll("('koffi')", `(${text(NATIVE ?? 'koffi')})`);
    },
  };
}
