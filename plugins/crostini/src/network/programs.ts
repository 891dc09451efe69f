// What a tap takes beside the kernel.

import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export const NFT = 'nft';
export const DNSMASQ = 'dnsmasq';

const PACKAGES: Readonly<Record<string, string>> = { [NFT]: 'nftables', [DNSMASQ]: 'dnsmasq-base' };
/** Where Debian has them, and where PATH of an ordinary user does not look. */
const SBIN = ['/usr/sbin', '/sbin', '/usr/local/sbin'];
const CAP_NET_ADMIN = 12n;

export function programPath(name: string, path: string = process.env.PATH ?? ''): string | undefined {
  const folders = [...path.split(delimiter).filter((folder) => folder.startsWith('/')), ...SBIN];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

export interface Lack {
  readonly why: string;
  readonly hint: string;
}

/** `undefined`: VMs can have taps, as far as can be seen without trying. */
export function tapLack(path?: string): Lack | undefined {
  const missing = [NFT, DNSMASQ].filter((name) => programPath(name, path) === undefined);
  if (missing.length > 0) {
    const packages = missing.map((name) => PACKAGES[name]).join(' ');
    return { why: `there is no ${missing.join(' and no ')}`, hint: `Install it: apt-get install ${packages}` };
  }
  if (!mayChangeNetwork()) {
    return {
      why: 'this user may not change the network (CAP_NET_ADMIN)',
      hint: 'Run the runtime as root, or have VMs use passt: settings.crostini.config.network: passt',
    };
  }
  if (!isReadable('/dev/net/tun')) {
    return { why: '/dev/net/tun cannot be opened', hint: 'Load its module: modprobe tun' };
  }
  return undefined;
}

/** It takes a user who may also start dnsmasq as somebody else. */
function mayChangeNetwork(): boolean {
  const [, digits = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return process.geteuid?.() === 0 && ((BigInt(`0x${digits}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}

function isReadable(file: string): boolean {
  return may(file, constants.R_OK | constants.W_OK);
}

function isExecutable(file: string): boolean {
  return may(file, constants.X_OK);
}

function may(file: string, mode: number): boolean {
  try {
    accessSync(file, mode);
    return true;
  } catch {
    return false;
  }
}
