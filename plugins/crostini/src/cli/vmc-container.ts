// `runtime vmc container`: a container of a VM that runs, made when there is none, and a shell in it.

import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { containerUser } from '../cicerone/bring-up.ts';
import type { ContainerImage, ContainerName } from '../contract-containers.ts';
import { errors } from '../errors.ts';
import { bringUp } from './container.ts';
import { runInContainer } from './container-exec.ts';
import type { CommandParts } from './index.ts';
import { OWNER_OPTION, ownedBy } from './owner.ts';
import { wholeNumber } from './start.ts';

const IMAGE = 'of a server and the alias of an image there, or a root file system and its metadata in the VM';
/** As long as a week. */
const MAX_TIMEOUT_S = 604_800;

export function addVmcContainer(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'vmc container',
      summary: 'start a container of a VM that runs, make it if there is none, and open a shell in it',
      args: [
        { name: 'name', summary: 'of the VM', required: true },
        { name: 'container', summary: 'its name', required: true },
        { name: 'server-or-rootfs', summary: `address ${IMAGE}; default: Debian, made here` },
        { name: 'alias-or-metadata', summary: 'the other half of it' },
      ],
      options: {
        owner_id: OWNER_OPTION,
        privileged: { type: 'string', choices: ['true', 'false'], summary: 'only false' },
        timeout: { type: 'number', summary: 'seconds until it is given up; default: none' },
      },
    },
    async ({ args: [vm = '', container = '', place, rest], options, io, signal }) => {
      if (options.privileged === 'true') throw refuse('privileged', 'containers are never privileged here');
      const name = { vm, container, ...ownedBy(options.owner_id) };
      const image = imageOf(place, rest);
      const within = withinSeconds(options.timeout, signal);
      if (image === undefined) await bringUp(parts, { ...name, user: containerUser() }, io, within);
      else await bringUpFrom(parts, name, image, io, within);
      return await runInContainer(parts.containers, name, { argv: [] }, io, signal);
    },
  );
}

async function bringUpFrom(
  { containers }: CommandParts,
  name: ContainerName,
  image: ContainerImage,
  io: CommandIo,
  signal: AbortSignal,
): Promise<void> {
  let told: Promise<void> = Promise.resolve();
  const onStage = (stage: string, fraction?: number): void => {
    told = told.then(() => io.progress(stage, fraction)).catch(() => {});
  };
  const wishes = { onStage, signal };
  await containers.inTurn(name, async () => {
    await containers.startLxd(name.vm, { ...wishes, ...(name.owner === undefined ? {} : { owner: name.owner }) });
    await containers.createContainer(name, image, wishes);
    await containers.setUpContainerUser(name, containerUser());
    await containers.startContainer(name, wishes);
  });
  await told;
}

/** @throws CROSTINI_ERR_USAGE */
function imageOf(place: string | undefined, rest: string | undefined): ContainerImage | undefined {
  if (place === undefined) return undefined;
  if (rest === undefined) throw refuse('alias-or-metadata', 'an image is told by two arguments');
  return place.startsWith('/') ? { rootfs: place, metadata: rest } : { server: place, alias: rest };
}

function withinSeconds(timeout: number | undefined, signal: AbortSignal): AbortSignal {
  if (timeout === undefined) return signal;
  return AbortSignal.any([signal, AbortSignal.timeout(wholeNumber('timeout', timeout, 1, MAX_TIMEOUT_S) * 1_000)]);
}

function refuse(option: string, why: string): Error {
  return errors.CROSTINI_ERR_USAGE({ details: { option, why } });
}
