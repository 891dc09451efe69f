// The rules of nftables for the VMs of one runtime, as one table that is replaced as a whole, nft(8).

import { networkOf } from '../concierge/network.ts';
import { ALL_TAPS, tableName, tapName } from './names.ts';

/** What the kernel keeps in mind of one guest; it forgets others when it has to remember too much (nf_conntrack_max). */
export const MAX_CONNECTIONS = 4096;

export interface RulesetOptions {
  readonly runtime: string;
  /** First addresses of the networks of its VMs, as numbers. */
  readonly subnets: readonly number[];
  /** Nothing is forwarded but to and from VMs: on a computer that did not forward before there were any. */
  readonly onlyVms: boolean;
}

/** For `nft -f -`: all of it happens at once, or nothing does. */
export function rulesetText({ runtime, subnets, onlyVms }: RulesetOptions): string {
  const vms = subnets.map((subnet) => {
    const { address, gateway } = networkOf(BigInt(subnet));
    return { tap: `"${tapName(runtime, subnet)}"`, address, gateway };
  });
  const set = (name: string, type: string, elements: readonly string[]): string[] => [
    `  set ${name} {`,
    `    type ${type}`,
    ...(elements.length === 0 ? [] : [`    elements = { ${elements.join(', ')} }`]),
    '  }',
  ];
  return [
    removalText(runtime).trimEnd(),
    `table inet ${tableName(runtime)} {`,
    ...set(
      'taps',
      'ifname',
      vms.map(({ tap }) => tap),
    ),
    ...set(
      'guests',
      'ipv4_addr',
      vms.map(({ address }) => address),
    ),
    ...set(
      'sources',
      'ifname . ipv4_addr',
      vms.map(({ tap, address }) => `${tap} . ${address}`),
    ),
    ...set(
      'gateways',
      'ifname . ipv4_addr',
      vms.map(({ tap, gateway }) => `${tap} . ${gateway}`),
    ),
    '  set connections {',
    '    type ifname',
    '    flags dynamic',
    '    size 64',
    '  }',
    // Before connections are tracked: nobody speaks in the name of another.
    '  chain prerouting {',
    '    type filter hook prerouting priority raw; policy accept;',
    '    iifname @taps meta nfproto ipv6 drop',
    '    iifname @taps iifname . ip saddr != @sources drop',
    '  }',
    // This computer is its guests' name server, and nothing else.
    '  chain input {',
    '    type filter hook input priority filter; policy accept;',
    `    iifname @taps ct state new add @connections { iifname ct count over ${MAX_CONNECTIONS} } drop`,
    '    iifname @taps jump from_guest',
    ...vms.map(({ tap, gateway }) => `    iifname != { ${tap}, "lo" } ip daddr ${gateway} drop`),
    '  }',
    '  chain from_guest {',
    '    iifname . ip daddr != @gateways reject with icmpx type admin-prohibited',
    '    ct state established,related accept',
    '    udp dport 53 accept',
    '    tcp dport 53 accept',
    '    icmp type echo-request accept',
    '    reject with icmpx type admin-prohibited',
    '  }',
    '  chain forward {',
    '    type filter hook forward priority filter; policy accept;',
    `    iifname @taps oifname "${ALL_TAPS}" reject with icmpx type admin-prohibited`,
    '    iifname @taps ct state invalid drop',
    `    iifname @taps ct state new add @connections { iifname ct count over ${MAX_CONNECTIONS} } drop`,
    '    oifname @taps ct state established,related accept',
    '    oifname @taps drop',
    ...(onlyVms ? [`    meta nfproto ipv4 iifname != "${ALL_TAPS}" oifname != "${ALL_TAPS}" drop`] : []),
    '  }',
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    `    ip saddr @guests oifname != "${ALL_TAPS}" masquerade`,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Also where there is no such table. */
export function removalText(runtime: string): string {
  const table = tableName(runtime);
  return `add table inet ${table}\ndelete table inet ${table}\n`;
}
