// The addresses of a guest: a /30 of which the host has the first and the guest the second, as patchpanel gives them out.

import type { AddressRange } from '@runtime/sdk';

export interface GuestNetwork {
  /** Of the guest, dotted. */
  readonly address: string;
  readonly prefix: number;
  readonly netmask: string;
  /** Of the host, as the guest sees it. */
  readonly gateway: string;
  /** Where the guest asks for names. */
  readonly dns: string;
}

export const SUBNET_SIZE = 4n;
const PREFIX = 30;
const NETMASK = '255.255.255.252';
/** Outside of all the pool; user-mode networks answer there in place of the name server of the host. */
const DNS = '100.115.92.3';

export function networkOf({ start }: AddressRange): GuestNetwork {
  return {
    address: dotted(start + 2n),
    prefix: PREFIX,
    netmask: NETMASK,
    gateway: dotted(start + 1n),
    dns: DNS,
  };
}

export function dotted(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 0xffn)).join('.');
}

/** As the messages have it: the octets as they lie in memory, read by a little-endian machine. */
export function inAddr(address: string): number {
  const octets = address.split('.').map(Number);
  if (octets.length !== 4 || octets.some((octet) => !Number.isInteger(octet) || octet < 0 || octet > 255)) {
    throw new RangeError(`${address} is no IPv4 address`);
  }
  return Buffer.from(octets).readUInt32LE();
}
