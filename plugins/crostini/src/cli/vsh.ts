// `runtime vsh`: runtime shell and runtime exec, with the options of ChromeOS' vsh.

import type { CommandRegistry } from '@runtime/sdk';
import { runInContainer } from './container-exec.ts';
import type { CommandParts } from './index.ts';
import { OWNER_OPTION, ownedBy } from './owner.ts';
import { runInGuest, type VshConcierge } from './vsh-commands.ts';

/** As vsh calls the VM itself, beside its containers. */
const VM_SHELL = '/vm_shell';
/** No folder is called so that matters: vsh has it like this, too. */
const PID = /^[1-9]\d{0,8}$/;

export interface VshParts {
  readonly manager: Pick<VshConcierge, 'endpoint'>;
  readonly containers: Pick<CommandParts['containers'], 'openShell'>;
}

export function addOriginalVsh(commands: CommandRegistry, parts: VshParts): void {
  commands.add(
    {
      name: 'vsh',
      summary: "open a shell or run a command in a VM, with the options of ChromeOS' vsh",
      args: [{ name: 'argv', summary: 'program and arguments, after --; default: a shell', variadic: true }],
      options: {
        vm_name: { type: 'string', default: 'termina', summary: 'the VM' },
        owner_id: OWNER_OPTION,
        user: { type: 'string', summary: 'user in the guest; default chronos' },
        cwd: { type: 'string', summary: 'folder it begins in, or a process of the guest that is there' },
        target_container: {
          type: 'string',
          summary: `a container that runs, with the user it has; ${VM_SHELL}: the VM itself, as when left out`,
        },
      },
    },
    async ({ args: argv, options, io, signal }) => {
      const { vm_name: vm, owner_id: owner, user, cwd, target_container: container } = options;
      if (container !== undefined && container !== '' && container !== VM_SHELL) {
        const name = { vm, container, ...ownedBy(owner) };
        return await runInContainer(parts.containers, name, { argv }, io, signal);
      }
      const isPid = cwd !== undefined && PID.test(cwd);
      const place = isPid ? { workdir: undefined, workdirPid: Number(cwd) } : { workdir: cwd };
      const guest = { ...ownedBy(owner), user, tty: false, env: [], ...place };
      return await runInGuest(parts.manager, vm, argv, guest, io, signal);
    },
  );
}
