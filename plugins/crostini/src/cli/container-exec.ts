// A command or a shell in a container, at the terminal or the pipes of whoever asked for it.

import type { CommandIo } from '@runtime/sdk';
import type { ContainerName } from '../contract-containers.ts';
import { openVsh } from '../vsh/client.ts';
import { attachPipes, attachTerminal, windowOf } from './guest-command.ts';
import type { CommandParts } from './index.ts';

/** @param argv none are a shell @param tty also where the caller has no terminal @returns the exit code */
export async function runInContainer(
  containers: Pick<CommandParts['containers'], 'openShell'>,
  name: ContainerName,
  { argv, tty = false }: { readonly argv: readonly string[]; readonly tty?: boolean },
  io: CommandIo,
  signal: AbortSignal,
): Promise<number> {
  const { container } = name;
  const isTerminal = tty || (io.terminal.isTTY && io.terminal.inputIsTTY === true);
  const connection = await containers.openShell(name, signal);
  const { type } = io.terminal;
  const session = await openVsh({
    ...{ socketPath: `container ${container}`, connection, target: container, argv },
    env: isTerminal && type !== undefined ? { TERM: type } : {},
    ...(isTerminal ? { pty: windowOf(io) } : {}),
  });
  return await (isTerminal ? attachTerminal : attachPipes)(session, io, signal);
}
