// The guest which is booted when no other is named: Debian's kernel and a small initial file system of Debian's tools.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type BaseOptions,
  buildInitramfs,
  collectPrograms,
  ensureBase,
  ensureMade,
  type GuestBase,
  guestModules,
  hashOf,
  imageCache,
  type KernelFlavour,
} from '@runtime/sdk/image';
import { CHECK_SCRIPT, GUEST_INIT, POWER_SCRIPT, PROFILE, UDHCPC_SCRIPT } from './guest-init.ts';

export interface DefaultGuest {
  /** Path of a kernel QEMU boots directly. */
  readonly kernel: string;
  /** Path of an uncompressed initial file system. */
  readonly initrd: string;
  /** Kernel parameters; a caller appends its own, such as `runtime.check`. */
  readonly params: string;
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

/** A change of how the initial file system is made that its inputs do not show. */
const RECIPE = 3;

const PROGRAMS = ['/usr/bin/socat'];

/**
 * Makes it, or finds it in the cache, which takes a few milliseconds and no network.
 * @throws SDK_ERR_IMAGE_… saying what is lacking
 */
export async function ensureDefaultGuest(options: BaseOptions = {}): Promise<DefaultGuest> {
  const base = await ensureBase(options);
  const { flavour = 'generic' } = options;
  const later = LATER_MODULES[flavour];
  const key = hashOf(RECIPE, base.id, GUEST_MODULES, later, PROGRAMS, GUEST_INIT, FILES);
  const initrd = await ensureMade(join(imageCache(), 'initrd', `${key}.cpio`), async (at) => {
    options.onProgress?.({ what: 'Making the initial file system' });
    writeFileSync(at, await makeInitrd(base, later));
  });
  return { kernel: base.kernel.file, initrd, params: GUEST_PARAMS };
}

const FILES = {
  '/etc/udhcpc': { content: UDHCPC_SCRIPT, mode: 0o755 },
  '/etc/check': { content: CHECK_SCRIPT, mode: 0o755 },
  '/etc/acpi/PWRF/00000080': { content: POWER_SCRIPT, mode: 0o755 },
  '/etc/profile': { content: PROFILE },
  '/etc/passwd': { content: 'root:x:0:0:root:/root:/bin/sh\n' },
  '/etc/group': { content: 'root:x:0:\n' },
  '/etc/hosts': { content: '127.0.0.1 localhost\n::1 localhost\n' },
};

async function makeInitrd(base: GuestBase, later: readonly string[]): Promise<Buffer> {
  return buildInitramfs({
    busybox: readFileSync(join(base.tree, 'usr/bin/busybox')),
    modules: await guestModules(base, GUEST_MODULES),
    laterModules: await guestModules(base, later),
    init: GUEST_INIT,
    programs: collectPrograms(base.tree, PROGRAMS),
    files: FILES,
  });
}
