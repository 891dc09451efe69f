// The addresses of a guest: a /30 of which the host has the first and the guest the second, as patchpanel gives them out.

export interface GuestNetwork {
  /** Of the guest, dotted. */
  readonly address: string;
  readonly prefix: number;
  readonly netmask: string;
  /** Of the host, as the guest sees it. */
  readonly gateway: string;
  /** Where the guest asks for names. */
  readonly dns: string;
  /** Interface of the host at the other end of its card; left out where passt is. */
  readonly tap?: string;
}

export const SUBNET_SIZE = 4n;
const PREFIX = 30;
const NETMASK = '255.255.255.252';
/** Outside of all the pool; user-mode networks answer there in place of the name server of the host. */
const DNS = '100.115.92.3';

/** @param start of its /30; with a tap its gateway answers for names, too */
export function networkOf(start: bigint, tap?: string): GuestNetwork {
  const gateway = dotted(start + 1n);
  return {
    address: dotted(start + 2n),
    prefix: PREFIX,
    netmask: NETMASK,
    gateway,
    ...(tap === undefined ? { dns: DNS } : { dns: gateway, tap }),
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
