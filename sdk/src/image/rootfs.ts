// Root file systems of Debian packages, as a read-only image which any number of guests share; each writes into a layer
// of its own above it. Packages are unpacked but not configured: that takes no root and no name space, and gives the
// same image for the same packages. What their scripts would have done and a guest needs is done here instead.

import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { ensureMade, hashOf, imageCache, type OnProgress, temporaryBeside, writeWhole } from './cache.ts';
import { controlOf, extractControl, extractDeb, filesOf } from './deb.ts';
import { Archive, type DebianPackage, debianArchitecture, GUEST_SUITE } from './packages.ts';
import { run } from './tool.ts';
import { appendVerity } from './verity.ts';

export interface RootfsOptions {
  /** Beside those of `base`. */
  readonly packages: readonly string[];
  /** Default {@link ROOTFS_BASE}. */
  readonly base?: readonly string[];
  /** Packages that others depend on and the guest can do without; they are not unpacked. */
  readonly without?: readonly string[];
  /** Whether dpkg and apt in the guest know what is installed; default true. */
  readonly dpkg?: boolean;
  /** What a caller adds to the packages. */
  readonly extra?: RootfsExtra;
  /** Lay a dm-verity hash tree behind the file system, see {@link appendVerity}; default false. */
  readonly verity?: boolean;
  readonly onProgress?: OnProgress;
  /** Look for newer packages now. */
  readonly refresh?: boolean;
}

export interface RootfsExtra {
  /** Stands for what is added: the same key, the same bytes. */
  readonly key: string;
  /** Adds it to the unpacked packages. What its owner may, all may; owners become root, times the epoch. */
  readonly apply: (tree: string) => Promise<void>;
}

/** What makes a Debian in which programs run and packages can be installed. No init system. */
export const ROOTFS_BASE: readonly string[] = [
  ...[
    'base-files',
    'base-passwd',
    'bash',
    'coreutils',
    'dash',
    'debianutils',
    'diffutils',
    'findutils',
    'grep',
    'gzip',
  ],
  ...['hostname', 'libc-bin', 'mawk', 'mount', 'perl-base', 'sed', 'tar', 'util-linux'],
  ...['apt', 'debian-archive-keyring', 'dpkg'],
];

/** Packages are looked up again after this long, in ms. */
const LOCK_FRESH_MS = 30 * 24 * 3_600_000;
/** A change of how an image is made of its packages. */
const RECIPE = 5;

/** Which packages an image is made of; as long as it is young, neither the network nor apt is asked. */
interface Lock {
  readonly resolvedAt: number;
  readonly packages: readonly DebianPackage[];
}

/**
 * The path of an erofs image, made or found in the cache. Mount it below an overlay.
 * @throws SDK_ERR_IMAGE_…
 */
export async function ensureRootfs(options: RootfsOptions): Promise<string> {
  const { packages, base = ROOTFS_BASE, onProgress = () => {}, refresh = false } = options;
  const names = [...new Set([...base, ...packages])];
  const file = join(imageCache(), 'rootfs', `${hashOf(RECIPE, GUEST_SUITE, debianArchitecture(), names)}.json`);
  const lock = readLock(file);
  if (lock !== undefined && !refresh && Date.now() - lock.resolvedAt < LOCK_FRESH_MS) {
    const image = await fromLock(lock, options);
    if (image !== undefined) return image;
  }
  try {
    const archive = await Archive.open({ onProgress, refresh });
    const next: Lock = { resolvedAt: Date.now(), packages: await archive.closure(names) };
    const image = await ensureImage(archive, next.packages, options);
    writeWhole(file, `${JSON.stringify(next, undefined, 2)}\n`);
    return image;
  } catch (e) {
    // An old image is better than none when there is no network; whoever asked for a new one is told.
    const image = lock === undefined || refresh ? undefined : await fromLock(lock, options);
    if (lock === undefined || image === undefined) throw e;
    onProgress({ what: `Using the packages of ${new Date(lock.resolvedAt).toISOString()}: ${(e as Error).message}` });
    return image;
  }
}

/** A file which this version of the runtime did not write so is as good as none. */
function readLock(file: string): Lock | undefined {
  try {
    const lock = JSON.parse(readFileSync(file, 'utf8')) as Lock;
    const sound = lock.packages.every((p) => [p.name, p.version, p.sha256].every((part) => typeof part === 'string'));
    return typeof lock.resolvedAt === 'number' && sound ? lock : undefined;
  } catch {
    return undefined;
  }
}

/** The image of these very packages, when it or they are still to be had. */
async function fromLock({ packages }: Lock, options: RootfsOptions): Promise<string | undefined> {
  const path = imagePath(packages, options);
  if (existsSync(path)) return path;
  const archive = await Archive.open({ ...(options.onProgress && { onProgress: options.onProgress }) });
  const debs = await archive.download(packages).catch(() => undefined);
  return debs === undefined ? undefined : ensureImage(archive, packages, options);
}

function imagePath(packages: readonly DebianPackage[], options: RootfsOptions): string {
  const { without = [], dpkg = true, verity = false, extra } = options;
  const pins = packages.map(({ name, version, sha256 }) => [name, version, sha256]);
  const key = hashOf(RECIPE, pins, [...without].sort(), dpkg, verity, extra?.key ?? '');
  return join(imageCache(), 'rootfs', `${key}.erofs`);
}

function ensureImage(archive: Archive, packages: readonly DebianPackage[], options: RootfsOptions): Promise<string> {
  const { without = [], dpkg = true, verity = false, extra, onProgress = () => {} } = options;
  const wanted = packages.filter(({ name }) => !without.includes(name));
  const path = imagePath(packages, options);
  return ensureMade(path, async (at) => {
    const tree = temporaryBeside(path);
    try {
      const unpacked = await unpack(await archive.download(wanted), wanted, tree, { dpkg, onProgress });
      if (extra !== undefined) {
        onProgress({ what: 'Adding what is our own to the root file system' });
        await extra.apply(tree);
      }
      openToAll(tree, unpacked);
      onProgress({ what: 'Making the root file system' });
      await makeErofs(tree, at);
      if (verity) {
        onProgress({ what: 'Hashing the root file system' });
        await appendVerity(at);
      }
    } finally {
      rmSync(tree, { recursive: true, force: true });
    }
  });
}

/**
 * Makes an uncompressed erofs image of a folder: the same names, contents and modes give the same bytes, whoever makes
 * it, wherever and when. It is uncompressed since to decompress costs a guest under emulation more than to read.
 */
export async function makeErofs(tree: string, image: string): Promise<void> {
  const uuid = '00000000-0000-4000-8000-000000000000';
  // Extended attributes are the host's own, such as labels of SELinux.
  const args = ['--quiet', '-T0', '-x-1', '--all-root', '-U', uuid, image, tree];
  await run('mkfs.erofs', args, { what: 'root file systems' });
}

async function unpack(
  debs: readonly string[],
  packages: readonly DebianPackage[],
  tree: string,
  { dpkg, onProgress }: { readonly dpkg: boolean; readonly onProgress: OnProgress },
): Promise<ReadonlySet<string>> {
  // base-files has the links /bin, /lib, … which the files of others go through.
  const order = debs.map((deb, i) => ({ deb, name: packages[i]?.name ?? '' }));
  order.sort((a, b) => Number(b.name === 'base-files') - Number(a.name === 'base-files'));
  const info = join(tree, 'var/lib/dpkg/info');
  let done = 0;
  for (const { deb, name } of order) {
    onProgress({ what: 'Unpacking packages', done, total: order.length });
    await extractDeb(deb, tree);
    if (dpkg) {
      mkdirSync(info, { recursive: true });
      await register(deb, name, tree, info);
    }
    done += 1;
  }
  const unpacked = new Set(readdirSync(tree, { recursive: true, encoding: 'utf8' }));
  configure(tree);
  if (dpkg) configureDpkg(tree);
  for (const folder of ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/info', 'boot']) {
    rmSync(join(tree, folder), { recursive: true, force: true });
  }
  return unpacked;
}

/** What packages do not have gets modes that do not depend on the umask of whoever makes the image. */
function openToAll(tree: string, unpacked: ReadonlySet<string>): void {
  for (const name of readdirSync(tree, { recursive: true, encoding: 'utf8' })) {
    if (unpacked.has(name)) continue;
    const stats = lstatSync(join(tree, name));
    if (stats.isDirectory()) chmodSync(join(tree, name), 0o755);
    if (stats.isFile()) chmodSync(join(tree, name), (stats.mode & 0o100) === 0 ? 0o644 : 0o755);
  }
}

/** Tells dpkg in the guest that a package is installed. */
async function register(deb: string, name: string, tree: string, info: string): Promise<void> {
  const control = await controlOf(deb);
  appendFileSync(join(tree, 'var/lib/dpkg/status'), `${control}\nStatus: install ok installed\n\n`);
  const multiArch = /^Multi-Arch: same$/m.test(control) ? `:${debianArchitecture()}` : '';
  const base = join(info, `${name}${multiArch}`);
  writeFileSync(`${base}.list`, `${(await filesOf(deb)).join('\n')}\n`);
  const folder = temporaryBeside(join(info, 'x'));
  await extractControl(deb, folder);
  for (const part of readdirSync(folder)) {
    // Triggers would run, for all packages at once, when a guest installs its first one.
    if (part === 'control' || part === 'triggers') continue;
    const content = readFileSync(join(folder, part));
    writeFileSync(`${base}.${part}`, content, { mode: /^(pre|post)(inst|rm)$/.test(part) ? 0o755 : 0o644 });
  }
  rmSync(folder, { recursive: true });
}

/** What the scripts of the packages would have done, as far as guests miss it. */
function configure(tree: string): void {
  const write = writerIn(tree);
  const copy = (from: string, to: string): void => {
    if (existsSync(join(tree, from)) && !existsSync(join(tree, to))) write(to, readFileSync(join(tree, from)));
  };
  copy('usr/share/base-passwd/passwd.master', 'etc/passwd');
  copy('usr/share/base-passwd/group.master', 'etc/group');
  copy('usr/share/libc-bin/nsswitch.conf', 'etc/nsswitch.conf');
  copy('usr/share/base-files/profile', 'etc/profile');
  write('etc/hosts', '127.0.0.1 localhost guest\n::1 localhost guest\n');
  write('etc/hostname', 'guest\n');
  if (!existsSync(join(tree, 'usr/bin/awk')) && existsSync(join(tree, 'usr/bin/mawk'))) {
    symlinkSync('mawk', join(tree, 'usr/bin/awk'));
  }
  const authorities = join(tree, 'usr/share/ca-certificates/mozilla');
  if (existsSync(authorities)) {
    const all = readdirSync(authorities).sort();
    write('etc/ca-certificates.conf', all.map((name) => `mozilla/${name}\n`).join(''));
    write('etc/ssl/certs/ca-certificates.crt', Buffer.concat(all.map((name) => readFileSync(join(authorities, name)))));
  }
  for (const folder of ['proc', 'sys', 'dev', 'run', 'tmp', 'mnt', 'root'])
    mkdirSync(join(tree, folder), { recursive: true });
}

function configureDpkg(tree: string): void {
  const write = writerIn(tree);
  write(
    'etc/apt/apt.conf.d/50guest',
    'APT::Sandbox::User "root";\nAPT::Install-Recommends "false";\nAcquire::Languages "none";\nDpkg::Use-Pty "0";\n',
  );
  // The format in which the names in info say the architecture where they have to.
  write('var/lib/dpkg/info/format', '1\n');
  write('var/lib/dpkg/arch', `${debianArchitecture()}\n`);
}

function writerIn(tree: string): (path: string, content: string | Buffer) => void {
  return (path, content) => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), content);
  };
}
