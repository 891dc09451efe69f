// `runtime suspend`

import type { CommandRegistry } from '@runtime/sdk';
import { DEFAULT_VM } from './defaults.ts';
import type { CommandParts } from './index.ts';

export function addSuspend(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'suspend',
      summary: 'have a VM stand still until it is resumed',
      description: 'What it has written is put on its disk first. Its memory stays where it is.',
      args: [{ name: 'name', summary: `default ${DEFAULT_VM}`, variadic: true }],
    },
    async ({ args }) => {
      for (const name of args.length === 0 ? [DEFAULT_VM] : args) await parts.manager.suspendVm(name);
    },
  );
}
