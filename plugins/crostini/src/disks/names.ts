// How disks are called on the file system, as concierge calls them: base64 for URLs, with its padding, so that any name of
// a VM is the name of a file.

import { errors } from '../errors.ts';

/** Bytes; what concierge takes. */
const MAX_NAME = 60;
const OWNER = /^[0-9a-fA-F]{1,64}$/;
// What would garble a terminal that shows it.
const UNPRINTABLE = /\p{Cc}/u;

/** @throws CROSTINI_ERR_DISK_OWNER */
export function checkOwner(owner: string): string {
  if (!OWNER.test(owner)) throw errors.CROSTINI_ERR_DISK_OWNER({ details: { owner: owner.slice(0, 80) } });
  return owner;
}

/** `dGVybWluYQ==` for `termina`. @throws CROSTINI_ERR_VM_NAME */
export function encodeName(vm: string): string {
  const bytes = Buffer.byteLength(vm);
  const why =
    bytes === 0
      ? 'it is empty'
      : bytes > MAX_NAME
        ? `it has ${bytes} bytes`
        : !vm.isWellFormed() || UNPRINTABLE.test(vm)
          ? 'it has characters that cannot be shown'
          : undefined;
  if (why !== undefined) throw errors.CROSTINI_ERR_VM_NAME({ details: { vm: vm.slice(0, 80), why } });
  const text = Buffer.from(vm).toString('base64url');
  return text.padEnd(Math.ceil(text.length / 4) * 4, '=');
}

/** `undefined` for what encodeName() does not make. */
export function decodeName(encoded: string): string | undefined {
  const vm = Buffer.from(encoded, 'base64url').toString();
  try {
    return encodeName(vm) === encoded ? vm : undefined;
  } catch {
    return undefined;
  }
}
