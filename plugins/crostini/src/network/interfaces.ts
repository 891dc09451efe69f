// Interfaces of this network namespace, and their switches below /proc/sys/net.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { setInterfaceAddress, setInterfaceUp } from '@runtime/sdk/linux';
import type { GuestNetwork } from '../concierge/network.ts';

const IPV4 = '/proc/sys/net/ipv4';
const IPV6 = '/proc/sys/net/ipv6';
/** Stands for all interfaces, those to come included: net.ipv4.ip_forward. */
const ALL = 'all';
/** What bridges pass on is then shown to the rules for forwarding, though nobody forwards. */
const BRIDGES_ARE_FILTERED = '/proc/sys/net/bridge/bridge-nf-call-iptables';
/** Of a tap: it answers for its own address alone, and takes no advice on routes from its guest. */
const TAP_SWITCHES: readonly (readonly [file: string, value: string])[] = [
  ['arp_ignore', '2'],
  ['rp_filter', '1'],
  ['accept_redirects', '0'],
  ['send_redirects', '0'],
];

export function interfaceExists(name: string): boolean {
  return existsSync(`${IPV4}/conf/${name}`);
}

/** Gives the host's end its address. One that has it is left alone, since its guest may be talking. */
export function setUpTap(tap: string, { gateway, netmask }: GuestNetwork): void {
  if (networkInterfaces()[tap]?.some(({ address }) => address === gateway)) return;
  // While it is down, so that no route of an address without its netmask is ever there.
  setInterfaceUp(tap, false);
  for (const [file, value] of TAP_SWITCHES) writeFileSync(`${IPV4}/conf/${tap}/${file}`, value);
  // A kernel may have no IPv6.
  if (existsSync(`${IPV6}/conf/${tap}`)) writeFileSync(`${IPV6}/conf/${tap}/disable_ipv6`, '1');
  setInterfaceAddress(tap, gateway, netmask);
  setInterfaceUp(tap, true);
}

/** Addresses of all interfaces that are up, as numbers. */
export function ownAddresses(): readonly number[] {
  return Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ family }) => family === 'IPv4')
    .map(({ address }) => address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0));
}

/** Interfaces that forward what comes in there, and `all` when all do. */
export function forwardingInterfaces(): readonly string[] {
  return readdirSync(`${IPV4}/conf`).filter(
    (name) => readFileSync(`${IPV4}/conf/${name}/forwarding`, 'utf8').trim() === '1',
  );
}

export function bridgesAreFiltered(): boolean {
  return existsSync(BRIDGES_ARE_FILTERED) && readFileSync(BRIDGES_ARE_FILTERED, 'utf8').trim() === '1';
}

function isForwarding(): boolean {
  return readFileSync(`${IPV4}/ip_forward`, 'utf8').trim() === '1';
}

export function startForwarding(): void {
  if (!isForwarding()) writeFileSync(`${IPV4}/ip_forward`, '1');
}

/** As it was when `forwardingInterfaces` was asked. */
export function restoreForwarding(before: readonly string[]): void {
  if (before.includes(ALL)) return;
  writeFileSync(`${IPV4}/ip_forward`, '0');
  for (const name of before.filter(interfaceExists)) writeFileSync(`${IPV4}/conf/${name}/forwarding`, '1');
}
