// Tarballs of our packages as they would be published, for packages outside of the checkout. They are made of what runs
// here: of the sources in a checkout, else of the installed packages.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errors } from '../errors.ts';
import { npm, run } from './npm.ts';

/** Absolute paths. */
export interface Packs {
  readonly core: string;
  readonly sdk: string;
  /** The vmm plugin; only where it runs, too. */
  readonly vmm?: string;
}

/** Name in npm, and folder in the checkout. */
const PACKAGES = {
  core: { name: '@runtime/core', folder: 'core' },
  sdk: { name: '@runtime/sdk', folder: 'sdk' },
  vmm: { name: '@runtime/plugin-vmm', folder: 'plugins/vmm' },
} as const;
type PackageId = keyof typeof PACKAGES;
/** Of the packages that run here, in the order in which they are built. */
type Folders = readonly (readonly [id: PackageId, folder: string])[];

function findFolders(): Folders {
  const sdk = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  const core = dirname(fileURLToPath(import.meta.resolve('@runtime/core/package.json')));
  const vmm = findVmm(sdk);
  return [['core', core], ['sdk', sdk], ...(vmm === undefined ? [] : ([['vmm', vmm]] as const))];
}

/** Beside the sdk: in the checkout or in node_modules. */
function findVmm(sdk: string): string | undefined {
  const { name, folder } = PACKAGES.vmm;
  const places = [join(dirname(sdk), folder), join(dirname(sdk), basename(name))];
  return places.find((place) => existsSync(join(place, 'package.json')));
}

function folderOf(folders: Folders, wanted: PackageId): string {
  return folders.find(([id]) => id === wanted)?.[1] ?? '';
}

function isCheckout(folders: Folders): boolean {
  return existsSync(join(folderOf(folders, 'sdk'), 'tsconfig.build.json'));
}

/**
 * Kept under a hash of what they are made of, so that the second time costs nothing.
 * @param cache folder, made if there is none
 * @throws SDK_ERR_PACK, SDK_ERR_NPM
 */
export async function cachedPacks(cache: string, onWork: () => void = () => {}): Promise<Packs> {
  const folders = findFolders();
  const target = join(cache, await hashOf(folders));
  const known = await packsIn(target);
  if (known !== undefined) return known;
  onWork();
  await mkdir(cache, { recursive: true });
  const fresh = await mkdtemp(join(cache, '.new-'));
  try {
    await packInto(fresh);
    // Another process may have been faster; what it made is the same.
    await rename(fresh, target).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  const packs = await packsIn(target);
  if (packs === undefined) throw errors.SDK_ERR_PACK({ details: { why: `nothing arrived in ${target}` } });
  return packs;
}

/** @param folder exists @throws SDK_ERR_PACK, SDK_ERR_NPM */
export async function packInto(folder: string): Promise<Packs> {
  const folders = findFolders();
  if (!isCheckout(folders)) return pack(folders, folder);
  const stage = await mkdtemp(join(tmpdir(), 'runtime-pack-'));
  try {
    return await pack(await build(folders, stage), folder);
  } finally {
    await rm(stage, { recursive: true, force: true });
  }
}

async function packsIn(folder: string): Promise<Packs | undefined> {
  const names = await readdir(folder).catch(() => []);
  const find = (id: PackageId): string | undefined => {
    const name = names.find((file) => new RegExp(`^${tarballName(id)}-\\d`).test(file));
    return name === undefined ? undefined : join(folder, name);
  };
  return toPacks({ core: find('core'), sdk: find('sdk'), vmm: find('vmm') });
}

/** As npm names it, less version and ending. */
function tarballName(id: PackageId): string {
  return PACKAGES[id].name.slice(1).replace('/', '-');
}

function toPacks(found: Readonly<Partial<Record<PackageId, string | undefined>>>): Packs | undefined {
  const { core, sdk, vmm } = found;
  return core === undefined || sdk === undefined ? undefined : { core, sdk, ...(vmm === undefined ? {} : { vmm }) };
}

async function pack(folders: Folders, destination: string): Promise<Packs> {
  const packed = folders.map(async ([id, folder]) => {
    const args = ['pack', '--ignore-scripts', '--loglevel=error', '--json', `--pack-destination=${destination}`];
    const [result] = JSON.parse(await npm(args, folder)) as { filename: string }[];
    return [id, join(destination, basename(result?.filename ?? ''))] as const;
  });
  const packs = toPacks(Object.fromEntries(await Promise.all(packed)));
  if (packs === undefined) throw errors.SDK_ERR_PACK({ details: { why: 'npm packed nothing' } });
  return packs;
}

/** Compiles copies of the sources, so that a build of the checkout, or a second one of these, is not disturbed. */
async function build(folders: Folders, stage: string): Promise<Folders> {
  const root = dirname(folderOf(folders, 'sdk'));
  const staged = folders.map(([id]) => [id, join(stage, PACKAGES[id].folder)] as const);
  for (const [id, folder] of folders) {
    await cp(folder, join(stage, PACKAGES[id].folder), {
      recursive: true,
      filter: (path) => basename(path) !== 'node_modules' && path !== join(folder, 'dist'),
    });
  }
  await cp(join(root, 'tsconfig.base.json'), join(stage, 'tsconfig.base.json'));
  await linkModules(join(root, 'node_modules'), join(stage, 'node_modules'));
  for (const [id, folder] of staged) await symlink(folder, join(stage, 'node_modules', PACKAGES[id].name));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const projects = staged.map(([id]) => `${PACKAGES[id].folder}/tsconfig.build.json`);
  await run(process.execPath, [tsc, '-b', ...projects], stage, (why) => errors.SDK_ERR_PACK({ details: { why } }));
  for (const [, folder] of staged) {
    await rm(join(folder, 'dist/.tsbuildinfo'), { force: true });
    await publishable(join(folder, 'package.json'));
  }
  return staged;
}

/** All packages but our own, which must be those of the stage. */
async function linkModules(from: string, to: string): Promise<void> {
  await mkdir(join(to, '@runtime'), { recursive: true });
  for (const name of await readdir(from)) {
    if (name !== '@runtime' && !name.startsWith('.')) await symlink(join(from, name), join(to, name));
  }
}

/** Without what only the checkout can follow: the way to the sources, scripts and development dependencies. */
async function publishable(file: string): Promise<void> {
  const manifest = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  const { scripts: _, devDependencies: __, ...rest } = manifest;
  const exports = JSON.parse(JSON.stringify(manifest.exports), (key, value: unknown) =>
    key === '@runtime/source' ? undefined : value,
  ) as unknown;
  await writeFile(file, `${JSON.stringify({ ...rest, exports }, null, 2)}\n`);
}

async function hashOf(folders: Folders): Promise<string> {
  const hash = createHash('sha256');
  const isSource = isCheckout(folders);
  for (const [id, folder] of folders) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    for (const file of files.sort()) {
      const path = file.slice(folder.length);
      if (path.includes('/node_modules/') || (isSource && path.startsWith('/dist/'))) continue;
      hash
        .update(`${id}${path}\0`)
        .update(await readFile(file))
        .update('\0');
    }
  }
  if (isSource) hash.update(await readFile(join(dirname(folderOf(folders, 'sdk')), 'tsconfig.base.json')));
  return hash.digest('hex').slice(0, 32);
}
