// /run/resolv.conf, which /etc/resolv.conf is a link to. resolv.conf(5)

import { renameSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { invalid } from './refusal.ts';
import type { System } from './system.ts';

const DEFAULT_NAMESERVERS = ['8.8.8.8', '8.8.4.4', '2001:4860:4860::8888', '2001:4860:4860::8844'];
const OPTIONS = 'options single-request timeout:1 attempts:5';
/** The resolver of glibc looks at three servers, and at 256 characters of domains. */
const NAMESERVERS_MAX = 16;
const DOMAINS_MAX = 32;
const DOMAIN = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})$/;

export interface ResolvConfig {
  readonly nameservers: readonly string[];
  readonly search_domains: readonly string[];
}

/** @throws RpcError when a server is no address, or a domain no name */
export function resolvConf({ nameservers, search_domains: domains }: ResolvConfig): string {
  if (nameservers.length > NAMESERVERS_MAX || domains.length > DOMAINS_MAX)
    throw invalid('there are too many servers or domains');
  // A zone may stand behind an address of IPv6: fe80::1%eth0.
  const wrong = nameservers.find((server) => isIP(server) === 0) ?? domains.find((domain) => !DOMAIN.test(domain));
  if (wrong !== undefined) throw invalid(`${JSON.stringify(wrong.slice(0, 300))} is neither an address nor a domain`);
  const servers = nameservers.length > 0 ? nameservers : DEFAULT_NAMESERVERS;
  const lines = servers.map((server) => `nameserver ${server}`);
  if (domains.length > 0) lines.push(`search ${domains.join(' ')}`);
  return `${[...lines, OPTIONS].join('\n')}\n`;
}

/** Whole or not at all: programs read it at any time. @throws RpcError, Error of the file system */
export function setResolvConf(system: System, config: ResolvConfig): void {
  const text = resolvConf(config);
  const file = `${system.root}/run/resolv.conf`;
  writeFileSync(`${file}.tmp`, text, { mode: 0o644 });
  renameSync(`${file}.tmp`, file);
}
