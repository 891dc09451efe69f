// Where a VM has its sockets.

import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { controlSocketPath } from '@runtime/sdk/client';
import { errors } from '../errors.ts';

/** sun_path without its terminating zero, less the longest name of a socket in the folder of a VM. */
export const MAX_VM_FOLDER = 75;

/**
 * Folder of the VMs of this runtime, beside its control socket. Runtimes of other names have others, by their state
 * directory; a runtime without one by its pid, since nothing of it lives on.
 */
export function vmsFolder(stateDirectory: string): string {
  const key = stateDirectory === '' ? String(process.pid) : hash(stateDirectory);
  return join(dirname(controlSocketPath(process.env)), `vm-${key}`);
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}

/**
 * Only the user may enter it; what lay there of a VM that is gone is removed.
 * @throws VMM_ERR_MACHINE when somebody else could put a socket in place of one of ours, or its path is too long
 */
export function makeVmFolder(vms: string, name: string): string {
  const folder = join(vms, name);
  if (Buffer.byteLength(folder) > MAX_VM_FOLDER) {
    throw refuse(name, `the path of its sockets, ${folder}, has more than ${MAX_VM_FOLDER} bytes`);
  }
  mkdirSync(vms, { recursive: true, mode: 0o700 });
  for (const above of [dirname(vms), vms]) checkOwn(above, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { mode: 0o700 });
  return folder;
}

/** With all that is in it. */
export function removeVmFolder(vms: string, name: string): void {
  rmSync(join(vms, name), { recursive: true, force: true });
}

/** What a runtime that was killed has left of VMs that are no more. @param known names of those that are */
export function removeOtherFolders(vms: string, known: ReadonlySet<string>): void {
  if (!existsSync(vms)) return;
  for (const name of readdirSync(vms)) if (!known.has(name)) removeVmFolder(vms, name);
}

/** One that is not there, or holds something, is left as it is. */
export function removeEmptyFolder(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Somebody's sockets are still in it.
  }
}

function checkOwn(folder: string, name: string): void {
  const { uid, mode } = lstatSync(folder);
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0) {
    throw refuse(name, `${folder} belongs to somebody else, or is open to others`);
  }
}

function refuse(vm: string, why: string): Error {
  const hint = 'Set XDG_RUNTIME_DIR to a short path of a folder of your own, with mode 0700.';
  return errors.VMM_ERR_MACHINE({ details: { vm, why, hint } });
}
