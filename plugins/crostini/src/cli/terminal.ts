// `runtime terminal`: what the plugin is for.

import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { containerUser } from '../cicerone/bring-up.ts';
import { bringUp } from './container.ts';
import { runInContainer } from './container-exec.ts';
import { DEFAULT_CONTAINER, DEFAULT_VM } from './defaults.ts';
import type { CommandParts } from './index.ts';
import { startWithProgress } from './start.ts';

/** What whoever has no terminal sees of the container. */
const REPORT = ['/bin/sh', '-c', 'uname -a; cat /etc/os-release'];

export function addTerminal(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'terminal',
      summary: 'open a shell in a Debian container, with everything that it needs',
      description:
        'Makes what there is none of yet: the images, the VM, LXD in it, the container and its user, who has your name. VM ' +
        'and container go on when the shell has ended, so that the next one is there at once; runtime stop VM ends them. ' +
        'Where there is no terminal it shows which system the container has, and ends what it has started.',
      lasting: true,
      main: true,
      args: [{ name: 'container', summary: `default ${DEFAULT_CONTAINER}` }],
      options: {
        vm: { type: 'string', summary: `the VM; default ${DEFAULT_VM}` },
        user: { type: 'string', summary: 'name of the user, when the container is made; default: yours' },
      },
    },
    async ({ args: [container = DEFAULT_CONTAINER], options, io, signal }) => {
      const { vm = DEFAULT_VM, user = containerUser() } = options;
      const wasThere = (await parts.manager.listVms()).some(({ name }) => name === vm);
      await startWithProgress(parts.manager, { name: vm, profile: 'full' }, io, signal);
      await bringUp(parts, { vm, container, user }, io, signal);
      const isTerminal = io.terminal.isTTY && io.terminal.inputIsTTY === true;
      try {
        const name = { vm, container };
        return await runInContainer(
          parts.containers,
          name,
          { argv: isTerminal ? [] : REPORT },
          withoutInput(io),
          signal,
        );
      } finally {
        if (isTerminal) await io.err(`container ${container} goes on; runtime --plugins crostini stop ${vm} ends it`);
        else if (!wasThere) await parts.manager.stopVm(vm);
      }
    },
  );
}

/** A report reads nothing. */
function withoutInput(io: CommandIo): CommandIo {
  return io.terminal.isTTY ? io : { ...io, input: nothing() };
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
