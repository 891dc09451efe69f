// The kernel of guests: Debian's own, unpacked, with its modules.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { errors } from '../errors.ts';
import { uncompressKernel } from './bz-image.ts';
import { ensureMade, hashOf, imageCache, type OnProgress } from './cache.ts';
import { extractDeb } from './deb.ts';
import { hasPvhEntry } from './elf.ts';
import type { ModuleTree } from './modules.ts';
import { type Archive, type DebianPackage, debianArchitecture } from './packages.ts';

/**
 * `generic` is Debian's usual kernel, `cloud` a smaller one: 35 instead of 108 MB to download and 5 % less time to boot,
 * but without 9p, virtio-gpu, virtio-snd and everything that is no virtual hardware.
 */
export type KernelFlavour = 'generic' | 'cloud';

export interface GuestKernel {
  /** What `machine` boots: an ELF file where it can be entered directly, else as Debian made it. */
  readonly file: string;
  readonly modules: ModuleTree;
}

/** A change of what is kept of a kernel and how. */
const RECIPE = 1;

/** Follows the package which always depends on the newest kernel. */
export async function resolveKernel(archive: Archive, flavour: KernelFlavour = 'generic'): Promise<DebianPackage> {
  const meta = `linux-image-${flavour === 'cloud' ? 'cloud-' : ''}${debianArchitecture()}`;
  const name = (await archive.depends(meta)).find((one) => /^linux-image-\d/.test(one));
  if (name === undefined) {
    const details = { package: meta, suite: archive.suite, why: 'it depends on no kernel', hint: 'Try again later.' };
    throw errors.SDK_ERR_IMAGE_PACKAGE({ details });
  }
  const [found] = await archive.pick([name]);
  return found as DebianPackage;
}

/** Downloads and unpacks it unless it is in the cache; `undefined` when it is not and there is no archive. */
export async function ensureKernel(
  archive: Archive | undefined,
  kernel: DebianPackage,
  progress: OnProgress,
): Promise<GuestKernel | undefined> {
  const folder = kernelFolder(kernel);
  if (archive === undefined && !existsSync(folder)) return undefined;
  await ensureMade(folder, async (at) => {
    const [deb = ''] = (await archive?.download([kernel])) ?? [];
    progress({ what: `Unpacking ${kernel.name}` });
    await extractDeb(deb, join(at, 'deb'));
    const release = only(join(at, 'deb/usr/lib/modules'), kernel);
    mkdirSync(join(at, 'modules'), { recursive: true });
    renameSync(join(at, 'deb/usr/lib/modules', release), join(at, 'modules', release));
    const image = join(at, 'deb/boot', `vmlinuz-${release}`);
    const elf = await directKernel(image);
    if (elf === undefined) copyFileSync(image, join(at, 'vmlinux'));
    else writeFileSync(join(at, 'vmlinux'), elf);
    rmSync(join(at, 'deb'), { recursive: true });
    // It is large, and everything of it that is used has been taken out.
    rmSync(deb, { force: true });
  });
  const release = only(join(folder, 'modules'), kernel);
  return { file: join(folder, 'vmlinux'), modules: { folder: join(folder, 'modules', release), release } };
}

function kernelFolder(kernel: DebianPackage): string {
  return join(imageCache(), 'kernel', hashOf(RECIPE, kernel.name, kernel.version, kernel.sha256));
}

function only(folder: string, { name }: DebianPackage): string {
  const [release, ...others] = readdirSync(folder);
  if (release !== undefined && others.length === 0) return release;
  throw errors.SDK_ERR_IMAGE_FORMAT({ details: { file: name, why: 'it has not the modules of one kernel' } });
}

/** The ELF file in a bzImage, when it can be started without its stub. */
async function directKernel(file: string): Promise<Buffer | undefined> {
  const image = readFileSync(file);
  if (process.arch !== 'x64') return undefined;
  const elf = await uncompressKernel(image, file);
  return hasPvhEntry(elf) ? elf : undefined;
}

/**
 * For a kernel that was given by its user: a file which QEMU boots without unpacking it in the guest. The file itself
 * when it is one already, or when the kernel can only be entered through its stub.
 * @throws SDK_ERR_IMAGE_KERNEL when it is neither a bzImage nor an ELF file
 */
export async function bootableKernel(file: string): Promise<string> {
  if (process.arch !== 'x64') return file;
  const image = readFileSync(file);
  const path = join(imageCache(), 'vmlinux', hashOf(RECIPE, image));
  if (existsSync(path)) return path;
  const elf = await uncompressKernel(image, file);
  if (elf === image || !hasPvhEntry(elf)) return file;
  return ensureMade(path, async (at) => writeFileSync(at, elf));
}
