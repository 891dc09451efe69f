// How large a disk is made.

import { errors } from '../errors.ts';

const BLOCK = 4096;
const MIN_BYTES = 2 ** 20;
/** Of a disk whose size nobody chose. */
const MIN_AUTOMATIC = 2 ** 30;
/** 90 % of what is free. */
const SHARE = 0.9;

/** What was asked for, in whole blocks. @throws CROSTINI_ERR_DISK_SIZE */
export function chosenSize(bytes: number, maxBytes: number): number {
  const refuse = (why: string): Error => errors.CROSTINI_ERR_DISK_SIZE({ details: { bytes, why } });
  if (!Number.isSafeInteger(bytes)) throw refuse('that is no whole number');
  if (bytes < MIN_BYTES) throw refuse('it is too small');
  const size = Math.ceil(bytes / BLOCK) * BLOCK;
  if (size > maxBytes) throw refuse(`at most ${sizeText(maxBytes)} are allowed`);
  return size;
}

/** @param free bytes of the file system @throws CROSTINI_ERR_DISK_SPACE */
export function automaticSize(free: number, maxBytes: number, folder: string): number {
  const size = Math.floor(Math.min(maxBytes, free * SHARE) / BLOCK) * BLOCK;
  if (size >= MIN_AUTOMATIC) return size;
  throw errors.CROSTINI_ERR_DISK_SPACE({ details: { folder, why: `${sizeText(free)} are free, and 1 GiB is needed` } });
}

/** `52.3 GiB` */
export function sizeText(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  const at = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${at === 0 ? bytes : (bytes / 2 ** (10 * at)).toFixed(1)} ${units[at]}`;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** `4096`, `512M` or `10G` in bytes. @throws CROSTINI_ERR_DISK_SIZE */
export function parseSize(text: string): number {
  const [, digits, unit = ''] = /^([0-9]{1,15})([KMGT]?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit.toUpperCase()] ?? Number.NaN);
  if (Number.isSafeInteger(bytes)) return bytes;
  throw errors.CROSTINI_ERR_DISK_SIZE({
    details: { bytes: JSON.stringify(text), why: 'sizes are such as 512M or 10G' },
  });
}
