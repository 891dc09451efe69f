// `runtime list`

import type { CommandRegistry } from '@runtime/sdk';
import type { TerminaVm } from '../contract.ts';
import type { CommandParts } from './index.ts';

export function addList(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'list',
      summary: 'list the VMs that run',
      options: { quiet: { type: 'boolean', short: 'q', summary: 'only their names' } },
    },
    async ({ options, io }) => {
      const vms = (await parts.manager.listVms()).toSorted((a, b) => a.name.localeCompare(b.name));
      if (options.quiet) for (const { name } of vms) await io.out(name);
      else await io.data(vms.map(vmRow));
    },
  );
}

/** What one wants to see at a glance. */
export function vmRow({ name, state, profile, cid, ipv4, memoryMib, cpus, pid }: TerminaVm) {
  return { name, state, profile, cid, ipv4: ipv4 ?? null, 'mem-mib': memoryMib, cpus, pid: pid ?? null };
}
