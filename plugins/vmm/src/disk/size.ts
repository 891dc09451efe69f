// Sizes of disks as people write them.

import { errors } from '../errors.ts';

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** `4096`, `512M` or `10G` in bytes. @throws VMM_ERR_DISK_SIZE */
export function toBytes(text: string): number {
  const [, digits, unit = ''] = /^([0-9]{1,15})([KMGT]?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit.toUpperCase()] ?? Number.NaN);
  if (Number.isSafeInteger(bytes)) return bytes;
  const details = { why: `"${text}" is no size`, hint: 'Give bytes, or such as 512M or 10G.' };
  throw errors.VMM_ERR_DISK_SIZE({ details });
}
