// The network of containers: a bridge in the VM, whose guests go out under the VM's address, and get theirs from dnsmasq(8).

import { spawn } from 'node:child_process';
import type { Log } from '../maitred/log.ts';
import type { System } from '../maitred/system.ts';
import { BRIDGE } from './set-up.ts';

/** In the order of its bytes. */
export type Ipv4 = readonly [number, number, number, number];

export interface ContainerSubnet {
  /** The VM's own. */
  readonly gateway: string;
  readonly prefix: number;
  readonly first: string;
  readonly last: string;
  readonly network: string;
  readonly netmask: string;
}

/** Of a /28: the fewest that make sense, and of a /16: as many as LXD itself gives. */
const PREFIXES = { shortest: 16, longest: 29 } as const;
const TABLE = 'runtime_containers';
const LEASE_TIME = '12h';
/** Whoever ends more often than this is not started again. */
const RESPAWN_MS = 1_000;
const RESPAWNS_MAX = 100;

/** Of the VM's address and its prefix, such as 100.115.92.193/28. @returns undefined when it is none */
export function parseSubnet(text: string): ContainerSubnet | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(text);
  const [a = -1, b = -1, c = -1, d = -1, prefix = -1] = (match ?? []).slice(1).map(Number);
  if ([a, b, c, d].some((byte) => byte < 0 || byte > 255)) return undefined;
  if (prefix < PREFIXES.shortest || prefix > PREFIXES.longest) return undefined;
  const gateway = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
  const mask = (0xffffffff << (32 - prefix)) >>> 0;
  const network = (gateway & mask) >>> 0;
  const broadcast = (network | ~mask) >>> 0;
  // Addresses are given from above that of the VM, or up to it, whichever are more.
  const above = broadcast - 1 - gateway;
  const below = gateway - 1 - network;
  if (above < 1 && below < 1) return undefined;
  const [first, last] = above >= below ? [gateway + 1, broadcast - 1] : [network + 1, gateway - 1];
  return {
    ...{ gateway: dotted(gateway), prefix, first: dotted(first), last: dotted(last) },
    ...{ network: `${dotted(network)}/${prefix}`, netmask: dotted(mask) },
  };
}

function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

export interface ContainerNetworkOptions {
  readonly system: Pick<System, 'run'>;
  readonly log: Log;
  readonly subnet: ContainerSubnet;
  /** What commands are prefixed with; for tests. */
  readonly within?: readonly string[];
  readonly resolvConf?: string;
}

/** @throws Error with what ip(8) or nft(8) said */
export async function startContainerNetwork(options: ContainerNetworkOptions): Promise<ContainerNetwork> {
  const { system, subnet, within = [] } = options;
  const run = async (...argv: string[]): Promise<void> => {
    const { code, output } = await system.run([...within, ...argv]);
    if (code !== 0) throw new Error(`${argv.slice(0, 4).join(' ')}: ${output.trim().slice(0, 500)}`);
  };
  const there = await system.run([...within, 'ip', 'link', 'show', 'dev', BRIDGE]);
  if (there.code !== 0) await run('ip', 'link', 'add', 'name', BRIDGE, 'type', 'bridge');
  await run('ip', 'address', 'replace', `${subnet.gateway}/${subnet.prefix}`, 'dev', BRIDGE);
  await run('ip', 'link', 'set', 'dev', BRIDGE, 'up');
  await run('nft', natRules(subnet));
  return new ContainerNetwork(options);
}

/** Whatever was there of it is replaced, in one go. */
function natRules({ network }: ContainerSubnet): string {
  return [
    `add table ip ${TABLE}`,
    `delete table ip ${TABLE}`,
    `table ip ${TABLE} {`,
    '  chain nat {',
    '    type nat hook postrouting priority srcnat;',
    `    ip saddr ${network} oifname != "${BRIDGE}" masquerade`,
    '  }',
    '}',
    '',
  ].join('\n');
}

export class ContainerNetwork implements Disposable {
  readonly #options: ContainerNetworkOptions;
  #dnsmasq: ReturnType<typeof spawn> | undefined;
  #isEnded = false;
  #starts = 0;

  constructor(options: ContainerNetworkOptions) {
    this.#options = options;
    this.#serve();
  }

  /** Its servers are others now. */
  reload(): void {
    this.#dnsmasq?.kill('SIGHUP');
  }

  [Symbol.dispose](): void {
    this.#isEnded = true;
    this.#dnsmasq?.kill('SIGTERM');
  }

  #serve(): void {
    const { log, subnet, within = [], resolvConf = '/run/resolv.conf' } = this.#options;
    const [program = '', ...args] = [...within, ...dnsmasqCommand(subnet, resolvConf)];
    this.#dnsmasq = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });
    this.#starts += 1;
    this.#dnsmasq.on('error', (e) => log('error', `dnsmasq cannot be run: ${e.message}`));
    this.#dnsmasq.on('exit', (code, signal) => {
      if (this.#isEnded) return;
      log('warning', `dnsmasq ended with ${signal ?? code}`);
      if (this.#starts < RESPAWNS_MAX) setTimeout(() => !this.#isEnded && this.#serve(), RESPAWN_MS);
    });
  }
}

function dnsmasqCommand({ first, last, netmask, gateway }: ContainerSubnet, resolvConf: string): string[] {
  return [
    ...['dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--pid-file=', '--log-facility=-'],
    ...[`--interface=${BRIDGE}`, '--except-interface=lo', '--bind-dynamic', '--no-hosts', '--no-ping'],
    ...[`--dhcp-range=${first},${last},${netmask},${LEASE_TIME}`, '--dhcp-authoritative', '--quiet-dhcp'],
    ...[`--dhcp-option=option:router,${gateway}`, `--dhcp-option=option:dns-server,${gateway}`],
    ...['--dhcp-leasefile=/run/lxdbr0.leases', `--resolv-file=${resolvConf}`],
  ];
}
