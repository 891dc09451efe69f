// Termina's image: a kernel, an initial file system and a read-only root of Debian's packages, the guest's program and
// the project's own Node. Made once and found in the cache by what it is made of.

import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  buildInitramfs,
  collectPrograms,
  ensureBase,
  ensureMade,
  ensureRootfs,
  type GuestBase,
  guestModules,
  hashOf,
  imageCache,
  type OnProgress,
  readVerity,
  type VerityImage,
  writeWhole,
} from '@runtime/sdk/image';
import type { ImageProfile } from '../contract.ts';
import { buildGuestBundle, guestBundleInputs, guestNode } from './guest-bundle.ts';
import { ensureDiskTools } from './state-disk.ts';
import { terminaInit } from './termina-init.ts';
import { EARLY_MODULES, FOLDERS, PROFILES, USERS, VERITY_MODULES, WITHOUT } from './termina-packages.ts';
import { chosenImage, type ImageRecord, recordImage } from './termina-store.ts';
import { completeTree } from './termina-tree.ts';

export interface TerminaImage {
  /** Stands for every byte of it: the same id, the same image. */
  readonly id: string;
  readonly profile: ImageProfile;
  /** Path of a kernel that is entered directly. */
  readonly kernel: string;
  /** Path of an initial file system. */
  readonly initrd: string;
  /** Path of an erofs image, to be attached as the first disk, read-only. */
  readonly rootfs: string;
  /** Kernel command line. */
  readonly params: string;
  /** Set when the guest checks every block of `rootfs` against this hash. */
  readonly verity: { readonly rootHash: string } | undefined;
}

export interface TerminaOptions {
  readonly profile: ImageProfile;
  readonly onProgress?: OnProgress;
  /** Look for newer packages now; without a network that is an error. */
  readonly refresh?: boolean;
  /**
   * Whether the guest checks each block when it reads it. Default false: with an emulated CPU it costs seconds of the
   * boot, so whoever knows that there is KVM turns it on.
   */
  readonly verity?: boolean;
  /** The guest's program; default: this plugin's own. */
  readonly bundle?: GuestBundle;
}

export interface GuestBundle {
  /** Changes with whatever the program is made of. */
  readonly inputs: () => Promise<string>;
  /** Writes it: `guest.cjs` is what Node is started with. */
  readonly build: (folder: string) => Promise<void>;
}

const OWN_BUNDLE: GuestBundle = { inputs: guestBundleInputs, build: buildGuestBundle };

/**
 * What is left out of the boot of a virtual machine: probing for devices it has not, self-tests of ciphers, random numbers
 * from the jitter of a CPU whose clock is emulated, names of numbers in the formats of trace events, and all but serious
 * messages on the console. Documentation/admin-guide/kernel-parameters.txt of the kernel.
 */
export const TERMINA_PARAMS =
  'console=ttyS0 panic=-1 tsc=reliable quiet mitigations=off audit=0 selinux=0 apparmor=0 cryptomgr.notests nokaslr ' +
  'i8042.nokbd i8042.noaux 8250.nr_uarts=2 initcall_blacklist=jent_mod_init,trace_eval_init rdinit=/init';

/** A change of how an image is made that its inputs do not show. */
const RECIPE = 1;

/**
 * The image that `termina use` chose, else the newest: made, or found in the cache in some ten milliseconds.
 * @throws SDK_ERR_IMAGE_…, CROSTINI_ERR_IMAGE_… saying what is lacking
 */
export async function ensureTermina(options: TerminaOptions): Promise<TerminaImage> {
  const { profile, refresh = false, verity = false } = options;
  const chosen = refresh ? undefined : chosenImage(profile);
  return withVerity(chosen ?? (await ensureRecord(options)), verity);
}

function withVerity(record: ImageRecord, verity: boolean): TerminaImage {
  const { id, profile, kernel, initrd, verityInitrd, rootfs, rootHash, dataBlocks } = record;
  return {
    id,
    profile,
    kernel,
    rootfs,
    initrd: verity ? verityInitrd : initrd,
    params: verity ? `${TERMINA_PARAMS} runtime.verity=${rootHash}:${dataBlocks}` : TERMINA_PARAMS,
    verity: verity ? { rootHash } : undefined,
  };
}

async function ensureRecord(options: TerminaOptions): Promise<ImageRecord> {
  const { profile, onProgress = () => {}, refresh = false, bundle = OWN_BUNDLE } = options;
  const base = await ensureBase({ packages: ['dmsetup'], onProgress, refresh });
  const rootfs = await ensureRoot(base, bundle, options);
  const initrd = await ensureInitrd(base, profile, false, onProgress);
  const verityInitrd = await ensureInitrd(base, profile, true, onProgress);
  const tools = profile === 'full' ? await ensureDiskTools(onProgress, refresh) : undefined;
  const files = { kernel: base.kernel.file, initrd, verityInitrd, rootfs, ...(tools === undefined ? {} : { tools }) };
  const id = hashOf(
    RECIPE,
    base.id,
    TERMINA_PARAMS,
    [initrd, verityInitrd, rootfs, ...(tools === undefined ? [] : [tools])].map((path) => basename(path)),
  );
  return recordImage(id, async () => {
    const { rootHash, dataBlocks }: VerityImage = await readVerity(rootfs);
    return { id, profile, ...files, rootHash, dataBlocks, release: base.kernel.modules.release, madeAt: Date.now() };
  });
}

async function ensureRoot(base: GuestBase, bundle: GuestBundle, options: TerminaOptions): Promise<string> {
  const { profile, onProgress, refresh } = options;
  const parts = PROFILES[profile];
  const node = guestNode();
  const key = hashOf(RECIPE, base.id, parts.modules, USERS, FOLDERS, await bundle.inputs(), await hashOfFile(node));
  return ensureRootfs({
    base: [],
    packages: parts.packages,
    without: WITHOUT,
    dpkg: false,
    verity: true,
    extra: { key, apply: (tree) => completeTree(tree, { profile, base, node, bundle: bundle.build }) },
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(refresh === undefined ? {} : { refresh }),
  });
}

/** With dm-verity it is larger, so that who does without does not unpack what sets it up. */
function ensureInitrd(base: GuestBase, profile: ImageProfile, verity: boolean, progress: OnProgress): Promise<string> {
  const init = terminaInit({ verity, atOnce: PROFILES[profile].atOnce });
  const names = verity ? [...EARLY_MODULES, ...VERITY_MODULES] : EARLY_MODULES;
  const key = hashOf('termina', RECIPE, base.id, names, init, verity);
  return ensureMade(join(imageCache(), 'initrd', `${key}.cpio`), async (at) => {
    progress({ what: 'Making the initial file system' });
    const image = buildInitramfs({
      busybox: readFileSync(join(base.tree, 'usr/bin/busybox')),
      modules: await guestModules(base, names),
      init,
      programs: verity ? collectPrograms(base.tree, ['/usr/sbin/dmsetup']) : {},
    });
    writeFileSync(at, image);
  });
}

/** Of a large file that does not change; read once, as long as its size and time stay the same. */
async function hashOfFile(path: string): Promise<string> {
  const { size, mtimeMs, ino } = statSync(path);
  const memo = join(imageCache(), 'termina', 'hashes', hashOf(path, size, mtimeMs, ino));
  if (existsSync(memo)) return readFileSync(memo, 'utf8');
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  const digest = hash.digest('hex');
  writeWhole(memo, digest);
  return digest;
}
