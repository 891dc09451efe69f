// `runtime delete`

import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { vmKey } from '../concierge/names.ts';
import { errors } from '../errors.ts';
import type { CommandParts } from './index.ts';

/** Bytes of an answer that are read. */
const MAX_ANSWER = 64;

export function addDelete(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'delete',
      summary: 'delete a VM and all that is on its disk',
      description: 'Asks first. One that runs is stopped. Its logs go, too.',
      args: [{ name: 'name', summary: 'of the VM', required: true }],
      options: { yes: { type: 'boolean', short: 'y', summary: 'do not ask' } },
    },
    async ({ args: [name = ''], options, io }) => {
      const { manager, disks, logs } = parts;
      const key = vmKey(name);
      const runs = (await manager.listVms()).some((vm) => vm.name === name);
      const [disk] = await disks.list({ vm: name });
      if (!runs && disk === undefined && !logs.has(key))
        throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: name } });
      if (!options.yes && !(await agrees(io, `Delete VM ${name} and all that is on its disk? [y/N] `))) {
        await io.err('Nothing was deleted; -y deletes without a question.');
        return 1;
      }
      await manager.stopVm(name, { reason: 'DESTROY_DISK_IMAGE_REQUESTED' });
      if (disk !== undefined) await disks.destroy({ vm: name });
      logs.remove(key);
      return 0;
    },
  );
}

/** Asks, and whether the answer was yes. */
export async function agrees(io: CommandIo, question: string): Promise<boolean> {
  await io.err(question);
  let answer = '';
  for await (const bytes of io.input) {
    answer += Buffer.from(bytes).toString('utf8');
    if (answer.includes('\n') || answer.length > MAX_ANSWER) break;
  }
  return /^y(es)?$/i.test(answer.trim());
}
