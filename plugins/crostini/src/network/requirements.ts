// What keeps VMs with a tap from reaching anything, in words: for `runtime doctor`, and for those who start one.

import type { CheckResult } from '@runtime/sdk';
import { type DroppingChain, droppingChains } from './nft.ts';
import { type Lack, tapLack } from './programs.ts';

/** What VMs may do is then still said by our own rules. */
export function blockedBy({ family, table, chain, hook, additions = chain }: DroppingChain): Lack {
  const ways = hook === 'forward' ? ['i', 'o'] : ['i'];
  const isIptables = family === 'ip' && table === 'filter';
  const commands = ways.map((way) =>
    isIptables
      ? `iptables -I ${additions} -${way} rtap+ -j ACCEPT`
      : `nft insert rule ${family} ${table} ${additions} ${way}ifname '"rtap*"' accept`,
  );
  return {
    why: `the chain ${chain} of the table ${family} ${table} drops what ${hook === 'forward' ? 'is forwarded' : 'comes in'}, and has no rule for VMs`,
    hint: `Let them through: ${commands.join('; ')}. Or use passt: settings.crostini.config.network: passt`,
  };
}

/** @param network as the configuration has it */
export async function checkNetwork(network: 'auto' | 'passt' | 'tap'): Promise<CheckResult> {
  if (network !== 'tap') return { status: 'ok', found: 'VMs are led to the network by passt' };
  const lack = tapLack();
  if (lack !== undefined) return { status: 'fail', found: lack.why, remedy: lack.hint };
  const [blocking] = await droppingChains();
  if (blocking === undefined) return { status: 'ok', found: 'VMs have a tap, with nftables and dnsmasq' };
  const { why, hint } = blockedBy(blocking);
  return { status: 'fail', found: why, remedy: hint };
}
