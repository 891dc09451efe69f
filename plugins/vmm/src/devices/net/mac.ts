// Ethernet addresses as text, bytes, and numbers that can be compared without allocating.

import { randomFillSync } from 'node:crypto';
import { MAC_BYTES } from './protocol.ts';

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
const GROUP = 1;
const LOCAL = 2;

/** Six bytes; `undefined` when it is no address, or that of a group. */
export function parseMac(text: unknown): Uint8Array | undefined {
  if (typeof text !== 'string' || !MAC.test(text)) return undefined;
  const bytes = Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
  return isStation(bytes) ? bytes : undefined;
}

/** Whether it can be that of a card: neither a group nor all zeros. */
export function isStation(bytes: Uint8Array): boolean {
  return bytes.length === MAC_BYTES && ((bytes[0] as number) & GROUP) === 0 && bytes.some((byte) => byte !== 0);
}

export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Locally administered: no vendor has it. */
export function randomMac(): string {
  const bytes = randomFillSync(new Uint8Array(MAC_BYTES));
  bytes[0] = ((bytes[0] as number) & ~GROUP) | LOCAL;
  return formatMac(bytes);
}

/** As a 48-bit number. */
export function macAt(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  const low =
    ((bytes[at + 2] as number) << 24) |
    ((bytes[at + 3] as number) << 16) |
    ((bytes[at + 4] as number) << 8) |
    (bytes[at + 5] as number);
  return high * 2 ** 32 + (low >>> 0);
}
