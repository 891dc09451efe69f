// Who owns a VM, what its owner calls it, and what the vmm plugin calls it.

import { createHash } from 'node:crypto';
import { userInfo } from 'node:os';
import { errors } from '../errors.ts';

/** As concierge of ChromeOS has it, in bytes of UTF-8. */
const MAX_NAME = 60;
/** Hexadecimal digits; ChromeOS' have 40. */
const OWNER = /^[0-9a-fA-F]{1,128}$/;
/** Those that the vmm plugin takes as they are, behind our prefix. */
const PLAIN = /^[a-z0-9][a-z0-9._-]{0,23}$/;
const CONTROL = /\p{C}/u;

export interface VmKey {
  readonly owner: string;
  readonly name: string;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Stands for the user of the runtime, as long as those of ChromeOS are. */
export const DEFAULT_OWNER: string = sha256(`user:${userInfo().uid}`).slice(0, 40);

/** @throws CROSTINI_ERR_VM_NAME */
export function vmKey(name: string, owner: string = DEFAULT_OWNER): VmKey {
  if (!OWNER.test(owner)) throw refuse(name, 'its owner is not hexadecimal');
  const bytes = Buffer.byteLength(name);
  if (bytes < 1 || bytes > MAX_NAME) throw refuse(name.slice(0, MAX_NAME), `it has ${bytes} bytes`);
  if (CONTROL.test(name)) throw refuse(JSON.stringify(name), 'it has letters that cannot be seen');
  return { owner: owner.toLowerCase(), name };
}

/** Unique for each owner and name: `t-foo`, and a hash where that is not possible. */
export function machineName({ owner, name }: VmKey): string {
  if (owner === DEFAULT_OWNER && PLAIN.test(name)) return `t-${name}`;
  return `t.${sha256(`${owner}/${name}`).slice(0, 16)}`;
}

/** Machines that are saved and then go on no more; no VM of anybody's has such a name. */
export const TEMPLATE_PREFIX = 't.template-';

export function keyText({ owner, name }: VmKey): string {
  return `${owner}/${name}`;
}

function refuse(vm: string, why: string): Error {
  return errors.CROSTINI_ERR_VM_NAME({ details: { vm, why } });
}
