// The program of a guest in as few files as start it quickly: one script, koffi's native half, and what V8 made of the
// script the last time. Under an emulated CPU, loading a hundred modules costs more than all that they do.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createRequire, findPackageJSON } from 'node:module';
import { dirname, extname, join, relative } from 'node:path';
import { promisify } from 'node:util';

/** What lies in /opt/runtime of a guest. The loader is what Node is started with. */
export const GUEST_FILES = {
  loader: 'guest.cjs',
  program: 'program.js',
  /** tremplin and what runs in containers, which Node is started with as it is. */
  containers: 'containers.cjs',
  /** Left out when V8 makes other bytes each time. */
  cache: 'program.cache',
  native: 'koffi.node',
} as const;

const EXTENSION = extname(import.meta.filename);
const HERE = import.meta.dirname;
const GUEST = join(HERE, '../../guest/src');
const BUNDLER = join(HERE, `guest-bundle-main${EXTENSION}`);
const PACKED = join(HERE, '../guest');
/** Where the compiled programs lie; `undefined` where the sources are what runs. Made by the script `prepack`. */
export const PACKED_FOLDER: string | undefined =
  EXTENSION === '.js' && existsSync(join(PACKED, GUEST_FILES.program)) ? PACKED : undefined;
const TIMEOUT_MS = 120_000;

const run = promisify(execFile);
/** koffi and vite are the sdk's. */
const SDK = createRequire(import.meta.url).resolve('@runtime/sdk/package.json');

/** The Node that runs in guests. What V8 made is good for no other. */
export function guestNode(): string {
  const manifest = findPackageJSON('node', SDK);
  return manifest === undefined ? process.execPath : join(dirname(manifest), 'bin/node');
}

/**
 * Writes GUEST_FILES to `folder`, which is made if need be. The same sources give the same bytes.
 * @throws Error with what the compiler said
 */
export async function buildGuestBundle(folder: string): Promise<void> {
  const flags = EXTENSION === '.ts' ? ['--conditions=@runtime/source'] : [];
  // A process of its own, since the compiler takes 100 MB. It is the guest's Node, for the sake of the cache.
  await run(guestNode(), [...flags, BUNDLER, folder], { timeout: TIMEOUT_MS });
}

/** What makes the files of the bundle. */
const MAKERS = [import.meta.filename, BUNDLER, join(HERE, `guest-program${EXTENSION}`)];

/** All that the program is made of. */
export function guestBundleSources(): string[] {
  if (PACKED_FOLDER !== undefined) {
    const folder = PACKED_FOLDER;
    return [...[GUEST_FILES.program, GUEST_FILES.containers].map((name) => join(folder, name)), ...MAKERS];
  }
  const folders = [
    GUEST,
    join(HERE, '../wire'),
    join(HERE, '../vsh'),
    join(HERE, '../rpc'),
    ...['linux', 'protobuf', 'compile'].map(sdkFolder),
  ];
  const errors = [
    join(HERE, `../errors${EXTENSION}`),
    sdkFolder(`errors${EXTENSION}`),
    sdkFolder(`public-errors${EXTENSION}`),
  ];
  return [...folders.flatMap(sourcesIn), ...errors, createRequire(SDK).resolve('@runtime/core/errors'), ...MAKERS];
}

/** Changes with whatever the bundle is made of. */
export async function guestBundleInputs(): Promise<string> {
  const hash = createHash('sha256').update(`${process.arch}\n`);
  const root = join(HERE, '../../../..');
  for (const file of guestBundleSources()) hash.update(`${relative(root, file)}\n`).update(readFileSync(file));
  const tools = PACKED_FOLDER === undefined ? ['koffi', 'vite'] : ['koffi'];
  for (const file of tools.map(manifestOf)) hash.update(readFileSync(file));
  const { size } = statSync(guestNode());
  return hash.update(`${process.version} ${size}`).digest('hex');
}

function manifestOf(name: string): string {
  const file = findPackageJSON(name, SDK);
  if (file === undefined) throw new TypeError(`there is no ${name}`);
  return file;
}

function sdkFolder(name: string): string {
  return join(dirname(SDK), EXTENSION === '.ts' ? 'src' : 'dist', name);
}

function sourcesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /(?<!\.test)\.[tj]s$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
