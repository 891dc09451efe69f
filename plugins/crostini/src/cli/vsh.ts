// `runtime vsh`: runtime shell and runtime exec, with the options of ChromeOS' vsh.

import type { CommandRegistry } from '@runtime/sdk';
import { errors } from '../errors.ts';
import { runInGuest, type VshConcierge } from './vsh-commands.ts';

/** As vsh calls the VM itself, beside its containers. */
const VM_SHELL = '/vm_shell';

export function addOriginalVsh(commands: CommandRegistry, concierge: Pick<VshConcierge, 'endpoint'>): void {
  commands.add(
    {
      name: 'vsh',
      summary: "open a shell or run a command in a VM, with the options of ChromeOS' vsh",
      args: [{ name: 'argv', summary: 'program and arguments, after --; default: a shell', variadic: true }],
      options: {
        vm_name: { type: 'string', default: 'termina', summary: 'the VM' },
        owner_id: { type: 'string', summary: 'of the VM, hexadecimal; default: that of the user of the runtime' },
        user: { type: 'string', summary: 'user in the guest; default chronos' },
        cwd: { type: 'string', summary: 'folder it begins in' },
        target_container: {
          type: 'string',
          summary: `only ${VM_SHELL}, the VM itself, as there are no containers yet`,
        },
      },
    },
    async ({ args: argv, options, io, signal }) => {
      const { vm_name: vm, owner_id: owner, user, cwd: workdir, target_container: container } = options;
      if (container !== undefined && container !== '' && container !== VM_SHELL) {
        const why = `there are no containers yet, and so none called ${JSON.stringify(container)}`;
        throw errors.CROSTINI_ERR_USAGE({ details: { option: 'target_container', why } });
      }
      return await runInGuest(concierge, vm, argv, { owner, user, workdir, tty: false, env: [] }, io, signal);
    },
  );
}
