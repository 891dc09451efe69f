// What belongs to which runtime in the network of this computer, which all runtimes share: told by names.

import { createHash } from 'node:crypto';

/** In nftables, of the taps of all runtimes. */
export const ALL_TAPS = 'rtap*';

/** Eight hexadecimal digits. A runtime without a state directory has one by its pid, since nothing of it lives on. */
export function runtimeId(stateDirectory: string): string {
  const key = stateDirectory === '' ? `pid ${process.pid}` : stateDirectory;
  return createHash('sha256').update(key).digest('hex').slice(0, 8);
}

/** Of the VM whose network begins there, a number: the last octet tells the networks of `ipv4Subnet` apart. 15 bytes. */
export function tapName(runtime: string, subnet: number): string {
  return `rtap${runtime}-${(subnet & 0xff).toString(16).padStart(2, '0')}`;
}

export const TAP_NAME: RegExp = /^rtap[0-9a-f]{8}-[0-9a-f]{2}$/;

/** In the family `inet` of nftables. */
export function tableName(runtime: string): string {
  return `runtime_${runtime}`;
}
