// Root file systems of Debian packages, as a read-only image which any number of guests share; each writes into a layer
// of its own above it. Packages are unpacked but not configured: that takes no root and no name space, and gives the
// same image for the same packages. What their scripts would have done and a guest needs is done here instead.

import {
  appendFileSync,
  existsSync,
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

export interface RootfsOptions {
  /** Beside {@link BASE}. */
  readonly packages: readonly string[];
  readonly onProgress?: OnProgress;
  /** Look for newer packages now. */
  readonly refresh?: boolean;
}

/** What makes a Debian in which programs run and packages can be installed. No init system. */
const BASE: readonly string[] = [
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
const RECIPE = 3;

interface Lock {
  readonly resolvedAt: number;
  readonly image: string;
  readonly packages: readonly DebianPackage[];
}

/**
 * The path of an erofs image, made or found in the cache. Mount it below an overlay.
 * @throws SDK_ERR_IMAGE_…
 */
export async function ensureRootfs({
  packages,
  onProgress = () => {},
  refresh = false,
}: RootfsOptions): Promise<string> {
  const names = [...new Set([...BASE, ...packages])];
  const file = join(imageCache(), 'rootfs', `${hashOf(RECIPE, GUEST_SUITE, debianArchitecture(), names)}.json`);
  const lock = readLock(file);
  if (lock !== undefined && !refresh && Date.now() - lock.resolvedAt < LOCK_FRESH_MS) return lock.image;
  try {
    const archive = await Archive.open({ onProgress, refresh });
    const resolved = await archive.closure(names);
    const image = await ensureImage(archive, resolved, onProgress);
    writeWhole(
      file,
      `${JSON.stringify({ resolvedAt: Date.now(), image, packages: resolved } satisfies Lock, undefined, 2)}\n`,
    );
    return image;
  } catch (e) {
    if (lock === undefined || refresh) throw e;
    onProgress({ what: `Using the packages of ${new Date(lock.resolvedAt).toISOString()}: ${(e as Error).message}` });
    return lock.image;
  }
}

function readLock(file: string): Lock | undefined {
  try {
    const lock = JSON.parse(readFileSync(file, 'utf8')) as Lock;
    return typeof lock.resolvedAt === 'number' && existsSync(lock.image) ? lock : undefined;
  } catch {
    return undefined;
  }
}

function ensureImage(archive: Archive, packages: readonly DebianPackage[], progress: OnProgress): Promise<string> {
  const pins = packages.map(({ name, version, sha256 }) => [name, version, sha256]);
  const path = join(imageCache(), 'rootfs', `${hashOf(RECIPE, pins)}.erofs`);
  return ensureMade(path, async (at) => {
    const tree = temporaryBeside(path);
    try {
      await unpack(await archive.download(packages), packages, tree, progress);
      progress({ what: 'Making the root file system' });
      await run(
        'mkfs.erofs',
        ['--quiet', '-T0', '--all-root', '-U', '00000000-0000-4000-8000-000000000000', at, tree],
        {
          what: 'root file systems',
        },
      );
    } finally {
      rmSync(tree, { recursive: true, force: true });
    }
  });
}

async function unpack(
  debs: readonly string[],
  packages: readonly DebianPackage[],
  tree: string,
  progress: OnProgress,
): Promise<void> {
  // base-files has the links /bin, /lib, … which the files of others go through.
  const order = debs.map((deb, i) => ({ deb, name: packages[i]?.name ?? '' }));
  order.sort((a, b) => Number(b.name === 'base-files') - Number(a.name === 'base-files'));
  const info = join(tree, 'var/lib/dpkg/info');
  let done = 0;
  for (const { deb, name } of order) {
    progress({ what: 'Unpacking packages', done, total: order.length });
    await extractDeb(deb, tree);
    mkdirSync(info, { recursive: true });
    await register(deb, name, tree, info);
    done += 1;
  }
  configure(tree);
  for (const folder of ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/info', 'boot']) {
    rmSync(join(tree, folder), { recursive: true, force: true });
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
  const write = (path: string, content: string | Buffer): void => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), content);
  };
  const copy = (from: string, to: string): void => {
    if (existsSync(join(tree, from)) && !existsSync(join(tree, to))) write(to, readFileSync(join(tree, from)));
  };
  copy('usr/share/base-passwd/passwd.master', 'etc/passwd');
  copy('usr/share/base-passwd/group.master', 'etc/group');
  copy('usr/share/libc-bin/nsswitch.conf', 'etc/nsswitch.conf');
  copy('usr/share/base-files/profile', 'etc/profile');
  write('etc/hosts', '127.0.0.1 localhost guest\n::1 localhost guest\n');
  write('etc/hostname', 'guest\n');
  write(
    'etc/apt/apt.conf.d/50guest',
    'APT::Sandbox::User "root";\nAPT::Install-Recommends "false";\nAcquire::Languages "none";\nDpkg::Use-Pty "0";\n',
  );
  // The format in which the names in info say the architecture where they have to.
  write('var/lib/dpkg/info/format', '1\n');
  write('var/lib/dpkg/arch', `${debianArchitecture()}\n`);
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
