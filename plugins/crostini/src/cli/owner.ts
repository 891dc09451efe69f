// Whose VMs the commands of ChromeOS are about: there, each user has a hash in the environment.

import { errors } from '../errors.ts';

const OWNER = /^[0-9a-fA-F]{1,64}$/;

export const OWNER_OPTION = {
  type: 'string',
  env: 'CROS_USER_ID_HASH',
  summary: 'of the VM, hexadecimal; default: that of the user of the runtime',
} as const;

/** An empty one is that of the user of the runtime. @throws CROSTINI_ERR_USAGE */
export function ownedBy(owner: string | undefined): { readonly owner?: string } {
  if (owner === undefined || owner === '') return {};
  if (OWNER.test(owner)) return { owner };
  const why = `${JSON.stringify(owner)} (or what CROS_USER_ID_HASH says) is not 1 to 64 hexadecimal digits`;
  throw errors.CROSTINI_ERR_USAGE({ details: { option: 'owner_id', why } });
}
