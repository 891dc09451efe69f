// The image of the Debian container: installed by mmdebstrap(1), as LXD wants it. Made once, and found in the cache by what
// it is made of.

import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  Archive,
  debianArchitecture,
  debianMirrors,
  ensureMade,
  GUEST_SUITE,
  hashOf,
  imageCache,
  type OnProgress,
  readAptSources,
} from '@runtime/sdk/image';
import { errors } from '../errors.ts';
import { PENGUIN_FILES, PENGUIN_LINKS, PENGUIN_PACKAGES, PENGUIN_WITHOUT } from './penguin-files.ts';

export interface ContainerImageFiles {
  /** Stands for all of it. */
  readonly id: string;
  /** A squashfs. */
  readonly rootfs: string;
  /** A tar with metadata.yaml in it. */
  readonly metadata: string;
}

/** A change of how it is made that its parts do not show. */
const RECIPE = 1;
const TIMEOUT_MS = 900_000;
const COMPLAINT_MAX = 2_000;

/** LXD's names: https://documentation.ubuntu.com/lxd/en/latest/architectures/ */
const LXD_ARCHITECTURES: Readonly<Record<string, string>> = { amd64: 'x86_64', arm64: 'aarch64', riscv64: 'riscv64' };

/** @throws SDK_ERR_IMAGE_…, CROSTINI_ERR_IMAGE_BUILD */
export async function ensurePenguinImage(onProgress: OnProgress = () => {}): Promise<ContainerImageFiles> {
  const mirrors = debianMirrors(readAptSources());
  const archive = await Archive.open({ onProgress });
  const packages = await archive.closure(PENGUIN_PACKAGES);
  const pinned = packages.map(({ name, version }) => `${name}=${version}`).sort();
  const id = hashOf(RECIPE, GUEST_SUITE, debianArchitecture(), pinned, PENGUIN_FILES, PENGUIN_LINKS, PENGUIN_WITHOUT);
  const folder = await ensureMade(join(imageCache(), 'containers', id), async (at) => {
    mkdirSync(at, { recursive: true });
    onProgress({ what: `Installing Debian ${GUEST_SUITE} into the image of the container` });
    writeExtra(join(at, 'extra'));
    const extra = join(at, 'extra.tar');
    await command('tar', ['--owner=0', '--group=0', '-cf', extra, '-C', join(at, 'extra'), '.']);
    const rootfs = join(at, 'rootfs.tar');
    await command('mmdebstrap', [
      ...['--quiet', '--variant=minbase', '--dpkgopt=force-unsafe-io', `--include=${PENGUIN_PACKAGES.join(',')}`],
      ...PENGUIN_WITHOUT.map((path) => `--dpkgopt=path-exclude=${path}`),
      `--customize-hook=tar-in ${quoted(extra)} /`,
      ...[GUEST_SUITE, rootfs],
      ...mirrors.archive.slice(0, 1).map((uri) => `deb ${uri} ${GUEST_SUITE} main`),
      ...mirrors.security.slice(0, 1).map((uri) => `deb ${uri} ${GUEST_SUITE}-security main`),
    ]);
    onProgress({ what: 'Packing the image of the container' });
    await command('sqfstar', ['-comp', 'lz4', '-no-progress', join(at, 'rootfs.squashfs')], rootfs);
    await writeMetadata(at);
    for (const name of ['rootfs.tar', 'extra', 'extra.tar']) rmSync(join(at, name), { recursive: true, force: true });
  });
  return { id, rootfs: join(folder, 'rootfs.squashfs'), metadata: join(folder, 'metadata.tar') };
}

function writeExtra(folder: string): void {
  for (const [path, content] of Object.entries(PENGUIN_FILES)) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), content, { mode: path.startsWith('etc/sudoers.d/') ? 0o440 : 0o644 });
  }
  for (const [path, target] of Object.entries(PENGUIN_LINKS)) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    symlinkSync(target, join(folder, path));
  }
}

async function writeMetadata(folder: string): Promise<void> {
  const architecture = LXD_ARCHITECTURES[debianArchitecture()] ?? debianArchitecture();
  const lines = [
    `architecture: ${architecture}`,
    // The same parts, the same image.
    'creation_date: 1700000000',
    'properties:',
    `  description: Debian ${GUEST_SUITE}`,
    ...['  os: Debian', `  release: ${GUEST_SUITE}`, ''],
  ];
  writeFileSync(join(folder, 'metadata.yaml'), lines.join('\n'));
  await command('tar', ['-cf', join(folder, 'metadata.tar'), '-C', folder, 'metadata.yaml']);
}

/** As a shell takes it. */
function quoted(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`;
}

/** Command → Debian package. */
const PACKAGE_OF = { mmdebstrap: 'mmdebstrap', sqfstar: 'squashfs-tools', tar: 'tar' } as const;

/** @param input path of a file */
async function command(name: keyof typeof PACKAGE_OF, args: readonly string[], input?: string): Promise<void> {
  const stdin = input === undefined ? undefined : openSync(input, 'r');
  try {
    await new Promise<void>((resolve, reject) => {
      const child = spawn(name, args, {
        stdio: [stdin ?? 'ignore', 'ignore', 'pipe'],
        env: { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin` },
        timeout: TIMEOUT_MS,
      });
      let complaint = '';
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        complaint = (complaint + text).slice(-COMPLAINT_MAX);
      });
      const fail = (why: string): void =>
        reject(errors.CROSTINI_ERR_CONTAINER_IMAGE({ details: { what: name, why, package: PACKAGE_OF[name] } }));
      child.on('error', (e) => fail(e.message));
      child.on('close', (code, signal) =>
        code === 0 ? resolve() : fail(complaint.trim() || `it ended with ${signal ?? code}`),
      );
    });
  } finally {
    if (stdin !== undefined) closeSync(stdin);
  }
}
