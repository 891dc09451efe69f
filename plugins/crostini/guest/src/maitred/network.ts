// The network of a guest: one interface, whose addresses the host gives.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { isLinuxError } from '@runtime/sdk/linux';
import type { Log } from './log.ts';
import { failed, invalid } from './refusal.ts';
import type { System } from './system.ts';

const INTERFACE = 'eth0';

/** Addresses are as in_addr lies in memory, read as little-endian: 100.115.92.26 is 0x1a5c7364. */
export interface Ipv4Config {
  readonly address: number;
  readonly netmask: number;
  readonly gateway: number;
}

/** A guest forwards for its containers, and still takes routes from its router. */
const SYSCTLS: readonly (readonly [name: string, value: string])[] = [
  ['net/ipv4/ip_forward', '1'],
  [`net/ipv6/conf/${INTERFACE}/accept_ra`, '2'],
  ['net/ipv6/conf/all/forwarding', '1'],
];

export function dotted(address: number): string {
  return [0, 8, 16, 24].map((shift) => (address >>> shift) & 0xff).join('.');
}

/** @throws RpcError */
export function configureNetwork(system: System, log: Log, config: Ipv4Config | undefined): void {
  if (config === undefined) throw invalid('there is no ipv4_config');
  for (const field of ['address', 'netmask', 'gateway'] as const)
    if (config[field] === 0) throw invalid(`ipv4_config has no ${field}`);
  const gateway = dotted(config.gateway);
  try {
    system.setInterfaceAddress(INTERFACE, dotted(config.address), dotted(config.netmask));
    system.setInterfaceUp(INTERFACE, true);
    system.setInterfaceUp('lo', true);
    try {
      system.addDefaultRoute(gateway);
    } catch (e) {
      if (!isLinuxError(e, 'EEXIST')) throw e;
    }
  } catch (e) {
    throw failed(`${INTERFACE} cannot be configured`, e);
  }
  for (const [name, value] of SYSCTLS) setSysctl(system, log, name, value);
}

/** IPv6 begins anew, with what the host's network has now. */
export function resetIpv6(system: System, log: Log): void {
  for (const value of ['1', '0']) setSysctl(system, log, `net/ipv6/conf/${INTERFACE}/disable_ipv6`, value);
  for (const pid of pidsOf(system, 'dnsmasq')) {
    try {
      system.kill(pid, 'SIGHUP');
    } catch (e) {
      log('info', `dnsmasq ${pid}: ${(e as Error).message}`);
    }
  }
}

function setSysctl(system: System, log: Log, name: string, value: string): void {
  try {
    writeFileSync(`${system.root}/proc/sys/${name}`, value);
  } catch (e) {
    log('warning', `${name} cannot be set to ${value}: ${(e as Error).message}`);
  }
}

function pidsOf(system: System, name: string): number[] {
  const folder = `${system.root}/proc`;
  return readdirSync(folder)
    .filter((pid) => /^\d+$/.test(pid) && commandOf(`${folder}/${pid}/comm`) === name)
    .map(Number);
}

function commandOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1').trim();
  } catch {
    // It has ended meanwhile.
    return undefined;
  }
}
