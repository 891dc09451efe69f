// The guest which is booted when no other is named: Debian's kernel and a small initial file system of Debian's tools.

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureMade, hashOf, imageCache, type OnProgress, writeWhole } from './cache.ts';
import { extractDeb } from './deb.ts';
import { CHECK_SCRIPT, GUEST_INIT, POWER_SCRIPT, PROFILE, UDHCPC_SCRIPT } from './guest-init.ts';
import { buildInitramfs, collectPrograms } from './initramfs.ts';
import { ensureKernel, type GuestKernel, type KernelFlavour, resolveKernel } from './kernel.ts';
import { collectModules, type Module, withoutSignature } from './modules.ts';
import { Archive, type DebianPackage, debianArchitecture, GUEST_SUITE } from './packages.ts';

export interface DefaultGuest {
  /** Path of a kernel QEMU boots directly. */
  readonly kernel: string;
  /** Path of an uncompressed initial file system. */
  readonly initrd: string;
  /** Kernel parameters; a caller appends its own, such as `runtime.check`. */
  readonly params: string;
}

export interface DefaultGuestOptions {
  readonly flavour?: KernelFlavour;
  readonly onProgress?: OnProgress;
  /** Look for newer packages now. */
  readonly refresh?: boolean;
}

/** Inserted by the guest before it says that it is up, in this order. */
export const GUEST_MODULES: readonly string[] = [
  'virtio_blk',
  'virtio_net',
  'virtio-rng',
  'vmw_vsock_virtio_transport',
];
/** Inserted while its user reads the prompt. What is not of this flavour of the kernel is left out. */
const LATER_MODULES: Readonly<Record<KernelFlavour, readonly string[]>> = {
  generic: ['button', 'evdev', 'virtio_input', 'virtio_balloon', '9pnet_virtio', '9p'],
  cloud: ['button', 'evdev', 'virtio_input', 'virtio_balloon'],
};

/**
 * What is left out of the boot of a virtual machine: probing for devices it has not, the self-tests of the cipher
 * implementations, mitigations for neighbours it does not have, and all but serious messages on the console.
 * Documentation/admin-guide/kernel-parameters.txt of the kernel.
 */
export const GUEST_PARAMS =
  'console=ttyS0 panic=-1 tsc=reliable quiet mitigations=off audit=0 selinux=0 apparmor=0 cryptomgr.notests nokaslr ' +
  'i8042.nokbd i8042.noaux 8250.nr_uarts=2 rdinit=/init';

/** Which packages a guest is made of, until they are looked up again. */
interface Lock {
  readonly resolvedAt: number;
  readonly kernel: DebianPackage;
  readonly packages: readonly DebianPackage[];
  readonly guest: DefaultGuest;
}

/** Packages are looked up again after this long, in ms. */
const LOCK_FRESH_MS = 14 * 24 * 3_600_000;
/** A change of how the initial file system is made that its inputs do not show. */
const RECIPE = 2;

const PROGRAMS = ['/usr/bin/socat'];
const PACKAGES = ['busybox-static', 'socat'];

/**
 * Makes it, or finds it in the cache, which takes a few milliseconds and no network. At first it downloads some
 * 115 MB of packages.
 * @throws VMM_ERR_IMAGE_… saying what is lacking
 */
export async function ensureDefaultGuest(options: DefaultGuestOptions = {}): Promise<DefaultGuest> {
  const { flavour = 'generic', onProgress = () => {} } = options;
  const file = join(imageCache(), 'guest', `${hashOf(RECIPE, recipe(), flavour)}.json`);
  const lock = readLock(file);
  const young = lock !== undefined && Date.now() - lock.resolvedAt < LOCK_FRESH_MS;
  if (lock !== undefined && young && options.refresh !== true) return lock.guest;
  try {
    const made = await make(flavour, onProgress, options.refresh === true);
    writeWhole(file, `${JSON.stringify(made, undefined, 2)}\n`);
    return made.guest;
  } catch (e) {
    // An old guest is better than none when there is no network; whoever asked for a new one is told.
    if (lock === undefined || options.refresh === true) throw e;
    onProgress({ what: `Using the guest of ${new Date(lock.resolvedAt).toISOString()}: ${(e as Error).message}` });
    return lock.guest;
  }
}

const recipe = (): unknown[] => [
  GUEST_SUITE,
  debianArchitecture(),
  GUEST_MODULES,
  LATER_MODULES,
  PACKAGES,
  PROGRAMS,
  GUEST_PARAMS,
  guestFiles(),
];

function guestFiles() {
  return {
    '/etc/udhcpc': { content: UDHCPC_SCRIPT, mode: 0o755 },
    '/etc/check': { content: CHECK_SCRIPT, mode: 0o755 },
    '/etc/acpi/PWRF/00000080': { content: POWER_SCRIPT, mode: 0o755 },
    '/etc/profile': { content: PROFILE },
    '/etc/passwd': { content: 'root:x:0:0:root:/root:/bin/sh\n' },
    '/etc/group': { content: 'root:x:0:\n' },
    '/etc/hosts': { content: '127.0.0.1 localhost\n::1 localhost\n' },
    '/init': { content: GUEST_INIT, mode: 0o755 },
  };
}

/** What is pinned and still there. */
function readLock(file: string): Lock | undefined {
  try {
    const lock = JSON.parse(readFileSync(file, 'utf8')) as Lock;
    for (const path of [lock.guest.kernel, lock.guest.initrd]) if (statSync(path).size === 0) return undefined;
    return typeof lock.guest.params === 'string' && typeof lock.resolvedAt === 'number' ? lock : undefined;
  } catch {
    return undefined;
  }
}

async function make(flavour: KernelFlavour, onProgress: OnProgress, refresh: boolean): Promise<Lock> {
  const archive = await Archive.open({ onProgress, refresh });
  const kernelPackage = await resolveKernel(archive, flavour);
  const packages = await archive.closure(PACKAGES);
  const kernel = await ensureKernel(archive, kernelPackage, onProgress);
  const key = hashOf(RECIPE, recipe(), kernelPackage, packages);
  const initrd = await ensureMade(join(imageCache(), 'initrd', `${key}.cpio`), async (at) => {
    const tree = await ensureTree(archive, packages);
    onProgress({ what: 'Making the initial file system' });
    const { '/init': init, ...files } = guestFiles();
    const image = buildInitramfs({
      busybox: readFileSync(join(tree, 'usr/bin/busybox')),
      modules: await guestModules(kernel, GUEST_MODULES),
      laterModules: await guestModules(kernel, LATER_MODULES[flavour]),
      init: init.content,
      programs: collectPrograms(tree, PROGRAMS),
      files,
    });
    writeFileSync(at, image);
  });
  const guest = { kernel: kernel.file, initrd, params: GUEST_PARAMS };
  return { resolvedAt: Date.now(), kernel: kernelPackage, packages, guest };
}

async function guestModules(kernel: GuestKernel, names: readonly string[]): Promise<Module[]> {
  const modules = await collectModules(kernel.modules, names);
  return modules.map(({ name, bytes }) => ({ name, bytes: withoutSignature(bytes) }));
}

/** Packages, unpacked over each other. */
export async function ensureTree(archive: Archive, packages: readonly DebianPackage[]): Promise<string> {
  const pins = packages.map(({ name, version, sha256 }) => [name, version, sha256]);
  return ensureMade(join(imageCache(), 'trees', hashOf(pins)), async (at) => {
    for (const deb of await archive.download(packages)) await extractDeb(deb, at);
  });
}
