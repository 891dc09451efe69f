// Tarballs of core and sdk as they would be published, for packages outside of the checkout. They are made of what runs
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
}

const PACKAGES = ['core', 'sdk'] as const;
type PackageName = (typeof PACKAGES)[number];
type Folders = Readonly<Record<PackageName, string>>;

/** Of the packages that run here. */
function findFolders(): Folders {
  const sdk = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  const core = dirname(fileURLToPath(import.meta.resolve('@runtime/core/package.json')));
  return { core, sdk };
}

function isCheckout({ sdk }: Folders): boolean {
  return existsSync(join(sdk, 'tsconfig.build.json'));
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
  const find = (name: PackageName): string | undefined => names.find((file) => file.startsWith(`runtime-${name}-`));
  const [core, sdk] = PACKAGES.map(find);
  return core === undefined || sdk === undefined ? undefined : { core: join(folder, core), sdk: join(folder, sdk) };
}

async function pack(folders: Folders, destination: string): Promise<Packs> {
  const packed = PACKAGES.map(async (name) => {
    const args = ['pack', '--ignore-scripts', '--loglevel=error', '--json', `--pack-destination=${destination}`];
    const [result] = JSON.parse(await npm(args, folders[name])) as { filename: string }[];
    return join(destination, basename(result?.filename ?? ''));
  });
  const [core = '', sdk = ''] = await Promise.all(packed);
  return { core, sdk };
}

/** Compiles copies of the sources, so that a build of the checkout, or a second one of these, is not disturbed. */
async function build(folders: Folders, stage: string): Promise<Folders> {
  const root = dirname(folders.sdk);
  const staged = { core: join(stage, 'core'), sdk: join(stage, 'sdk') };
  for (const name of PACKAGES) {
    await cp(folders[name], staged[name], {
      recursive: true,
      filter: (path) => basename(path) !== 'node_modules' && path !== join(folders[name], 'dist'),
    });
  }
  await cp(join(root, 'tsconfig.base.json'), join(stage, 'tsconfig.base.json'));
  await linkModules(join(root, 'node_modules'), join(stage, 'node_modules'));
  for (const name of PACKAGES) await symlink(staged[name], join(stage, 'node_modules/@runtime', name));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  await run(process.execPath, [tsc, '-b', 'sdk/tsconfig.build.json'], stage, (why) =>
    errors.SDK_ERR_PACK({ details: { why } }),
  );
  for (const name of PACKAGES) {
    await rm(join(staged[name], 'dist/.tsbuildinfo'), { force: true });
    await publishable(join(staged[name], 'package.json'));
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
  for (const name of PACKAGES) {
    const entries = await readdir(folders[name], { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    for (const file of files.sort()) {
      const path = file.slice(folders[name].length);
      if (path.includes('/node_modules/') || (isSource && path.startsWith('/dist/'))) continue;
      hash
        .update(`${name}${path}\0`)
        .update(await readFile(file))
        .update('\0');
    }
  }
  if (isSource) hash.update(await readFile(join(dirname(folders.sdk), 'tsconfig.base.json')));
  return hash.digest('hex').slice(0, 32);
}
