// `runtime resume`

import type { CommandRegistry } from '@runtime/sdk';
import { DEFAULT_VM } from './defaults.ts';
import type { CommandParts } from './index.ts';

export function addResume(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'resume',
      summary: 'let a suspended VM go on, and tell it the time',
      args: [{ name: 'name', summary: `default ${DEFAULT_VM}`, variadic: true }],
    },
    async ({ args }) => {
      for (const name of args.length === 0 ? [DEFAULT_VM] : args) await parts.manager.resumeVm(name);
    },
  );
}
