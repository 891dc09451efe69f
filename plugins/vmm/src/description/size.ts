// Sizes as people write them.

const UNITS: Readonly<Record<string, number>> = { '': 1, M: 1, G: 1024 };

/** `512`, `'512M'` or `'2G'` in MiB. The schema has checked the form. */
export function toMib(size: number | string): number {
  if (typeof size === 'number') return size;
  const [, digits = '0', unit = ''] = /^([0-9]+)([MG]?)$/.exec(size) ?? [];
  return Number(digits) * (UNITS[unit] ?? 1);
}
