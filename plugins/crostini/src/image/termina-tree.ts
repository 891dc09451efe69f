// What is added to Debian's packages to make Termina's image of them: Node, the guest's program, kernel modules, users,
// and folders to mount things on.

import {
  appendFileSync,
  chmodSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type GuestBase, guestModules } from '@runtime/sdk/image';
import type { ImageProfile } from '../contract.ts';
import { errors } from '../errors.ts';
import { runPackaged } from './packaged-program.ts';
import { GUEST_FOLDER } from './termina-init.ts';
import { FOLDERS, PROFILES, USERS } from './termina-packages.ts';

export interface TreeParts {
  readonly profile: ImageProfile;
  readonly base: GuestBase;
  /** Path of the Node that runs in the guest. */
  readonly node: string;
  /** Writes the guest's program into a folder. */
  readonly bundle: (folder: string) => Promise<void>;
}

export async function completeTree(tree: string, { profile, base, node, bundle }: TreeParts): Promise<void> {
  for (const folder of FOLDERS) mkdirSync(join(tree, folder), { recursive: true });
  addUsers(tree);
  linkWritten(tree);
  await addModules(tree, base, PROFILES[profile].modules);
  const own = join(tree, GUEST_FOLDER);
  await step("the guest's program", () => bundle(own));
  copyFileSync(node, join(own, 'node'), constants.COPYFILE_FICLONE);
  chmodSync(join(own, 'node'), 0o755);
  // Of every program in the guest; the same file, not a second one.
  symlinkSync(join(GUEST_FOLDER, 'node'), join(tree, 'usr/bin/node'));
  for (const folder of UNUSED) rmSync(join(tree, folder), { recursive: true, force: true });
}

const UNUSED: readonly string[] = [
  'usr/share/bash-completion',
  'usr/share/lintian',
  'usr/share/bug',
  'usr/lib/systemd',
];

function addUsers(tree: string): void {
  for (const [name, lines] of Object.entries(USERS)) {
    appendFileSync(join(tree, 'etc', name), lines.map((line) => `${line}\n`).join(''));
  }
}

/** What is written while a guest runs lies on file systems in memory, since the image cannot be written to. */
function linkWritten(tree: string): void {
  const links = { 'etc/resolv.conf': '/run/resolv.conf', 'etc/mtab': '/proc/self/mounts', 'var/run': '/run' };
  for (const [path, target] of Object.entries(links)) {
    rmSync(join(tree, path), { recursive: true, force: true });
    symlinkSync(target, join(tree, path));
  }
  // To be mounted over, which needs it to be there.
  writeFileSync(join(tree, 'etc/machine-id'), '');
  writeFileSync(join(tree, 'etc/hostname'), 'termina\n');
  writeFileSync(join(tree, 'etc/hosts'), '127.0.0.1 localhost termina\n::1 localhost\n');
}

async function addModules(tree: string, base: GuestBase, wanted: readonly string[]): Promise<void> {
  const { folder, release } = base.kernel.modules;
  const into = join(tree, 'usr/lib/modules', release);
  mkdirSync(join(into, 'kernel'), { recursive: true });
  for (const { name, bytes } of await guestModules(base, wanted)) {
    writeFileSync(join(into, 'kernel', `${name}.ko`), bytes);
  }
  for (const name of ['modules.order', 'modules.builtin', 'modules.builtin.modinfo']) {
    if (existsSync(join(folder, name))) copyFileSync(join(folder, name), join(into, name));
  }
  await depmod(tree, release);
}

/** Makes the indexes of modprobe with the image's own kmod. */
async function depmod(tree: string, release: string): Promise<void> {
  const args = ['-b', tree, '-C', '/dev/null', release];
  await step('the index of its kernel modules', () => runPackaged(tree, 'usr/bin/kmod', args, 'depmod'));
}

async function step(what: string, make: () => Promise<unknown>): Promise<void> {
  try {
    await make();
  } catch (e) {
    const why = e instanceof Error ? e.message.slice(-500) : String(e);
    throw errors.CROSTINI_ERR_IMAGE_BUILD({ details: { what, why }, cause: e });
  }
}
