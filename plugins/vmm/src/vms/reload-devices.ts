// New code of a plugin means new code of the devices which it offers: those that run get it without their guests noticing.

import type { Logger } from '@runtime/sdk';
import type { Vm } from './vm.ts';

export interface ReloadDevicesOptions {
  readonly vms: Iterable<Pick<Vm, 'name' | 'state' | 'devices'>>;
  readonly log: Logger;
  readonly reload: (vm: string, device: string) => Promise<{ readonly ms: number }>;
}

/** A device that does not take the new code goes on with what it has, and keeps no other from it. */
export async function reloadDevicesOf(plugin: string, { vms, log, reload }: ReloadDevicesOptions): Promise<void> {
  const live = [...vms].filter(({ state }) => state === 'running' || state === 'paused');
  const devices = live.flatMap(({ name, devices: all }) => [...all.values()].map(({ running }) => ({ name, running })));
  await Promise.all(
    devices.map(async ({ name: vm, running: { id: device, plugin: owner } }) => {
      if (owner !== plugin) return;
      try {
        const { ms } = await reload(vm, device);
        log.info({ vm, device, ms }, `device ${device} of VM ${vm} has new code`);
      } catch (err) {
        log.error({ vm, device, err }, `device ${device} of VM ${vm} goes on with the code that it had`);
      }
    }),
  );
}
