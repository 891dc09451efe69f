// `runtime stop NAME`; without a name it is the runtime's own command.

import type { CommandRegistry } from '@runtime/sdk';
import { errors } from '../errors.ts';
import type { CommandParts } from './index.ts';

export function addStop(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'stop',
      summary: 'stop VMs',
      keeps: true,
      description:
        'Asks their guests to shut down and waits; what does not end in time is ended. One that does not run is left as it is.',
      args: [{ name: 'name', summary: 'of a VM', variadic: true }],
      options: { all: { type: 'boolean', summary: 'all that run' } },
    },
    async ({ args, options, io }) => {
      if (options.all && args.length > 0) {
        throw errors.CROSTINI_ERR_USAGE({ details: { option: 'all', why: 'there are names, too' } });
      }
      await io.progress('waiting for the guest to shut down');
      if (options.all) await parts.manager.stopAllVms();
      else {
        const there = new Set((await parts.manager.listVms()).map(({ name }) => name));
        // No error, as what is wanted is so; but a name may be misspelt.
        for (const name of args) if (!there.has(name)) await io.err(`VM ${name} does not run`);
        await Promise.all(args.map((name) => parts.manager.stopVm(name)));
      }
    },
  );
}
