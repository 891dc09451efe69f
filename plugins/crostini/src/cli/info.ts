// `runtime info`

import type { CommandRegistry } from '@runtime/sdk';
import { type CommandParts, DEFAULT_VM } from './index.ts';

export function addInfo(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'info',
      summary: 'show all that is known of a VM',
      args: [{ name: 'name', summary: `default ${DEFAULT_VM}` }],
    },
    async ({ args: [name = DEFAULT_VM], io }) => {
      const vm = await parts.manager.getVm(name);
      const machine = await parts.vms.inspect(vm.machine).catch(() => undefined);
      const { accelerator, directory, consoleLog, devices } = machine ?? {};
      await io.data({ ...vm, accelerator, directory, consoleLog, devices });
    },
  );
}
