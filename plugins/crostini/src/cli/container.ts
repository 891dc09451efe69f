// `runtime container …`: containers in a VM.

import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { bringUpContainer, containerUser } from '../cicerone/bring-up.ts';
import type { Container, ContainerName } from '../contract-containers.ts';
import { errors } from '../errors.ts';
import { runInContainer } from './container-exec.ts';
import { DEFAULT_CONTAINER, DEFAULT_VM } from './defaults.ts';
import { agrees } from './delete.ts';
import type { CommandParts } from './index.ts';
import { startWithProgress, stayUntil } from './start.ts';

const VM_OPTION = { vm: { type: 'string', summary: `the VM; default ${DEFAULT_VM}` } } as const;
const NAME_ARG = { name: 'name', summary: `default ${DEFAULT_CONTAINER}` } as const;

export function addContainer(commands: CommandRegistry, parts: CommandParts): void {
  addStart(commands, parts);
  addExec(commands, parts);
  commands.add(
    { name: 'container stop', summary: 'stop a container', args: [NAME_ARG], options: VM_OPTION },
    async ({ args: [container = DEFAULT_CONTAINER], options: { vm = DEFAULT_VM } }) => {
      await parts.containers.stopContainer({ vm, container });
    },
  );
  commands.add(
    {
      name: 'container delete',
      summary: 'delete a container and all that is in it',
      description: 'Asks first. One that runs is stopped.',
      args: [{ name: 'name', summary: 'the container', required: true }],
      options: { ...VM_OPTION, yes: { type: 'boolean', short: 'y', summary: 'do not ask' } },
    },
    async ({ args: [container = ''], options: { vm = DEFAULT_VM, yes }, io }) => {
      if (!yes && !(await agrees(io, `Delete container ${container} and all that is in it? [y/N] `))) return 1;
      if (await parts.containers.deleteContainer({ vm, container })) return 0;
      throw errors.CROSTINI_ERR_CONTAINER_NOT_FOUND({ details: { vm, container } });
    },
  );
  commands.add(
    {
      name: 'container list',
      summary: 'list the containers that run',
      options: { quiet: { type: 'boolean', short: 'q', summary: 'only their names' } },
    },
    async ({ options: { quiet }, io }) => {
      const all = (await parts.containers.listContainers()).toSorted((a, b) => a.name.localeCompare(b.name));
      if (quiet) for (const { name } of all) await io.out(name);
      else await io.data(all.map(row));
    },
  );
}

function addStart(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'container start',
      summary: 'start a Debian container, which is made when there is none',
      description:
        'Starts the VM if need be, and LXD in it. The first time, the image of the container is made, which takes some ' +
        'minutes. The container has a user with the name of whoever asks (of root: "user").',
      lasting: true,
      args: [NAME_ARG],
      options: { ...VM_OPTION, user: { type: 'string', summary: 'name of its user, when it is made' } },
    },
    async ({ args: [container = DEFAULT_CONTAINER], options, io, signal }) => {
      const { vm = DEFAULT_VM, user = containerUser() } = options;
      await startWithProgress(parts.manager, { name: vm, profile: 'full' }, io, signal);
      await io.data(row(await bringUp(parts, { vm, container, user }, io, signal)));
      if (!parts.lastsOnlyHere) return;
      await io.err(`container ${container} runs until ^C, or: runtime stop ${vm}; it goes with its VM`);
      await stayUntil(parts.desk, vm, signal);
    },
  );
}

/** With its stages as they come. The VM runs already. */
export async function bringUp(
  { manager, containers }: CommandParts,
  { user, ...name }: ContainerName & { readonly user: string },
  io: CommandIo,
  signal: AbortSignal,
): Promise<Container> {
  let told: Promise<void> = Promise.resolve();
  const onStage = (stage: string, fraction?: number): void => {
    told = told.then(() => io.progress(stage, fraction)).catch(() => {});
  };
  const parts = { concierge: manager, cicerone: containers };
  const started = await bringUpContainer(parts, name, user, { onStage, signal });
  await told;
  return started;
}

function addExec(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'container exec',
      summary: 'run a command in a container that runs; without one, a shell',
      description:
        'As the user of the container. Write -- before the command: runtime container exec penguin -- ls -l. Its input, ' +
        'output and exit code are those of this command.',
      args: [NAME_ARG, { name: 'argv', summary: 'program and arguments', variadic: true }],
      options: {
        ...VM_OPTION,
        tty: { type: 'boolean', short: 't', summary: 'with a terminal; default: when this is one' },
      },
    },
    async ({ args: [container = DEFAULT_CONTAINER, ...argv], options, io, signal }) => {
      const { vm = DEFAULT_VM, tty } = options;
      return await runInContainer(parts.containers, { vm, container }, { argv, tty }, io, signal);
    },
  );
}

function row({ name, vm, state, username, ipv4 }: Container) {
  return { name, vm, state, user: username ?? null, ipv4: ipv4 ?? null };
}
