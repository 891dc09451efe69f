// `runtime info`

import type { CommandRegistry } from '@runtime/sdk';
import { escapeText } from '../concierge/log-records.ts';
import { dashedKeys } from './data-keys.ts';
import { DEFAULT_VM } from './defaults.ts';
import type { CommandParts } from './index.ts';
import { memoryOf, shownState, uptimeOf } from './list.ts';

export function addInfo(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'info',
      summary: 'show all that is known of a VM',
      args: [{ name: 'name', summary: `default ${DEFAULT_VM}` }],
    },
    async ({ args: [name = DEFAULT_VM], io }) => {
      const vm = await parts.manager.getVm(name);
      const { suspended: _, ...facts } = vm;
      const machine = await parts.vms.inspect(vm.machine).catch(() => undefined);
      const { accelerator, directory, consoleLog, devices } = machine ?? {};
      const verity = machine && (machine.params.includes(' runtime.verity=') ? 'on' : 'off');
      const memory = await memoryOf(parts.vms, vm);
      const crashes = (await parts.logs.crashes(vm)).map(({ time, text }) => ({
        time: new Date(time).toISOString(),
        what: escapeText(text),
      }));
      const times = { uptimeS: uptimeOf(vm.startedAt, Date.now()) };
      const now = { state: shownState(vm), ...times, memoryNowMib: memory?.actualMib ?? vm.memoryMib };
      const guest = memory?.guest === undefined ? {} : { memoryFreeInGuestMib: memory.guest.availableMib };
      const place = { accelerator, verity, directory, consoleLog, devices };
      await io.data(dashedKeys({ ...facts, ...now, ...guest, ...place, crashes }));
    },
  );
}
