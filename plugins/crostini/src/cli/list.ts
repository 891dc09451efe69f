// `runtime list`

import type { BalloonState, Vms } from '@runtime/plugin-vmm/contract';
import type { CommandRegistry } from '@runtime/sdk';
import type { TerminaVm } from '../contract.ts';
import { errors } from '../errors.ts';
import type { CommandParts } from './index.ts';

/** What VMs can be chosen by. */
const FILTERS: Readonly<Record<string, (vm: TerminaVm) => string>> = {
  name: ({ name }) => name,
  state: shownState,
  profile: ({ profile }) => profile,
  type: ({ type }) => type,
  image: ({ image }) => image,
};

export function addList(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'list',
      summary: 'list the VMs that run',
      keeps: true,
      options: {
        quiet: { type: 'boolean', short: 'q', summary: 'only their names' },
        filter: {
          type: 'string',
          multiple: true,
          summary: `only those with, for example, state=running: ${Object.keys(FILTERS).join(', ')}`,
        },
      },
    },
    async ({ options, io }) => {
      const wanted = parseFilters(options.filter);
      const all = (await parts.manager.listVms()).toSorted((a, b) => a.name.localeCompare(b.name));
      const vms = all.filter((vm) => wanted(vm));
      if (options.quiet) for (const { name } of vms) await io.out(name);
      else await io.data(await Promise.all(vms.map(async (vm) => vmRow(vm, await memoryOf(parts.vms, vm)))));
    },
  );
}

/** What one wants to see at a glance. @param memory what it has of its memory now */
export function vmRow(vm: TerminaVm, memory?: BalloonState) {
  const { name, profile, cid, ipv4, memoryMib, cpus, pid, startedAt } = vm;
  return {
    ...{ name, state: shownState(vm), 'uptime-s': uptimeOf(startedAt, Date.now()), profile, cid, ipv4: ipv4 ?? null },
    ...{ 'mem-mib': memory?.actualMib ?? memoryMib, cpus, pid: pid ?? null },
  };
}

/** `undefined`: it has no balloon, and all of its memory. */
export async function memoryOf(vms: Pick<Vms, 'balloon'>, { machine }: TerminaVm): Promise<BalloonState | undefined> {
  try {
    return await vms.balloon(machine);
  } catch {
    return undefined;
  }
}

export function shownState({ state, suspended }: TerminaVm): string {
  return suspended === true ? 'suspended' : state;
}

export function uptimeOf(startedAt: string, now: number): number {
  const ms = now - Date.parse(startedAt);
  return Number.isFinite(ms) ? Math.max(0, Math.round(ms / 1_000)) : 0;
}

/** One of the values for each key that is named. @throws CROSTINI_ERR_USAGE */
function parseFilters(filters: readonly string[]): (vm: TerminaVm) => boolean {
  const values = new Map<string, string[]>();
  for (const filter of filters) {
    const [, key = '', value = ''] = /^([a-z]+)=(.*)$/s.exec(filter) ?? [];
    if (!Object.hasOwn(FILTERS, key)) {
      const why = `${JSON.stringify(filter.slice(0, 60))} is no filter: it is one of ${Object.keys(FILTERS).join(', ')} and what that is to be, such as state=running`;
      throw errors.CROSTINI_ERR_USAGE({ details: { option: 'filter', why } });
    }
    values.set(key, [...(values.get(key) ?? []), value]);
  }
  return (vm) => [...values].every(([key, wanted]) => wanted.includes(FILTERS[key]?.(vm) ?? ''));
}
