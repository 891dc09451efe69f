// Commands that run something in a guest: `runtime shell`, `exec`, `run`, `cp`.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { isRuntimeError } from '@runtime/sdk/errors';
import type { Concierge, StartTermina, TerminaVm } from '../contract.ts';
import { errors } from '../errors.ts';
import { openVsh, type VshOptions } from '../vsh/client.ts';
import { addCp } from './cp.ts';
import { DEFAULT_VM } from './defaults.ts';
import { attachPipes, attachTerminal, windowOf } from './guest-command.ts';
import { START_OPTIONS, startRequest } from './start.ts';

/** Where a command finds its VM. */
export type VshConcierge = Pick<Concierge, 'startVm' | 'stopVm' | 'endpoint'>;
/** Starts a VM, and shows how it goes. */
export type StartAtTerminal = (request: StartTermina, io: CommandIo, signal: AbortSignal) => Promise<TerminaVm>;

const VSH_PORT = 9001;

const GUEST_OPTIONS = {
  tty: { type: 'boolean', short: 't', summary: 'with a terminal; default: when input and output are one' },
  user: { type: 'string', short: 'u', summary: 'user in the guest, by name or number; default chronos' },
  env: { type: 'string', short: 'e', multiple: true, summary: 'KEY=VALUE for the command' },
  workdir: { type: 'string', short: 'w', summary: 'folder it begins in; default: the home of the user' },
} as const;

export interface GuestValues {
  /** Of the VM. */
  readonly owner?: string | undefined;
  readonly tty: boolean;
  readonly user: string | undefined;
  readonly env: readonly string[];
  readonly workdir: string | undefined;
  /** In its place: the folder of that process of the guest. */
  readonly workdirPid?: number | undefined;
}

export function addVsh(
  commands: CommandRegistry,
  concierge: VshConcierge,
  start: StartAtTerminal = (request) => concierge.startVm(request),
): void {
  addShell(commands, concierge);
  addExec(commands, concierge);
  addRun(commands, concierge, start);
  addCp(commands, (vm) => vshSocket(concierge, vm));
}

function addShell(commands: CommandRegistry, concierge: VshConcierge): void {
  const { user, env, workdir } = GUEST_OPTIONS;
  commands.add(
    {
      name: 'shell',
      summary: 'open a shell in a VM',
      description: 'A login shell, on a terminal of its own. It ends with the shell, whose exit code it has.',
      args: [{ name: 'name', summary: `default ${DEFAULT_VM}` }],
      options: { user, env, workdir },
    },
    async ({ args: [vm = DEFAULT_VM], options, io, signal }) =>
      runInGuest(concierge, vm, [], { ...options, tty: false }, io, signal),
  );
}

function addExec(commands: CommandRegistry, concierge: VshConcierge): void {
  commands.add(
    {
      name: 'exec',
      summary: 'run a command in a VM',
      description:
        'Write -- before the command: runtime exec termina -- ls -l. Its input, output and exit code are those of this ' +
        'command; 125 says that it could not be run, 126 that it is no program, 127 that there is none.',
      args: [
        { name: 'name', summary: 'the VM', required: true },
        { name: 'argv', summary: 'program and arguments', required: true, variadic: true },
      ],
      options: GUEST_OPTIONS,
    },
    async ({ args: [vm = DEFAULT_VM, ...argv], options, io, signal }) =>
      runInGuest(concierge, vm, argv, options, io, signal),
  );
}

function addRun(commands: CommandRegistry, concierge: VshConcierge, start: StartAtTerminal): void {
  commands.add(
    {
      name: 'run',
      summary: 'run a command in a fresh VM',
      description:
        'Starts a VM of the fast image, runs the command, and throws the VM away. With --name it is that VM, started when ' +
        'it does not run, and left as it is. No command is a shell. Exit codes are those of runtime exec.',
      args: [{ name: 'argv', summary: 'program and arguments, after --', variadic: true }],
      options: {
        ...GUEST_OPTIONS,
        ...START_OPTIONS,
        name: { type: 'string', summary: 'name of a VM to use, which goes on afterwards' },
        keep: { type: 'boolean', summary: 'leave the fresh VM running' },
      },
    },
    async ({ args: argv, options, io, signal }) => {
      const vm = options.name ?? `run-${randomBytes(4).toString('hex')}`;
      const isFresh = options.name === undefined && !options.keep;
      const request = startRequest(vm, { ...options, profile: options.profile ?? 'fast' });
      try {
        await notRun(vm, () => start(request, io, signal));
        return await runInGuest(concierge, vm, argv, options, io, signal);
      } finally {
        if (isFresh) await concierge.stopVm(vm);
      }
    },
  );
}

/** No arguments are a shell. @returns the exit code */
export async function runInGuest(
  concierge: Pick<VshConcierge, 'endpoint'>,
  vm: string,
  argv: readonly string[],
  { owner, tty, user, env, workdir, workdirPid }: GuestValues,
  io: CommandIo,
  signal: AbortSignal,
): Promise<number> {
  const isTerminal = tty || (io.terminal.isTTY && io.terminal.inputIsTTY === true);
  const variables = variablesOf(env);
  const { type } = io.terminal;
  return await notRun(vm, async () => {
    const request: VshOptions = {
      ...{ socketPath: await vshSocket(concierge, vm, owner), argv },
      env: isTerminal && type !== undefined ? { TERM: type, ...variables } : variables,
      ...(user === undefined ? {} : { user }),
      ...(workdir === undefined ? {} : { cwd: workdir }),
      ...(workdirPid === undefined ? {} : { cwdPid: workdirPid }),
      ...(isTerminal ? { pty: windowOf(io) } : {}),
    };
    const session = await openVsh(request);
    return await (isTerminal ? attachTerminal : attachPipes)(session, io, signal);
  });
}

async function vshSocket(concierge: Pick<VshConcierge, 'endpoint'>, vm: string, owner?: string): Promise<string> {
  const { directory } = await concierge.endpoint(vm, owner === undefined ? {} : { owner });
  return join(directory, `vsock.sock.g${VSH_PORT}`);
}

/** @throws CROSTINI_ERR_USAGE */
function variablesOf(env: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    env.map((text) => {
      const at = text.indexOf('=');
      if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
      throw errors.CROSTINI_ERR_USAGE({ details: { option: 'env', why: `"${text}" is not KEY=VALUE` } });
    }),
  );
}

/** What fails on this side has an exit code that no command of the guest is likely to have. */
async function notRun<T>(vm: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (e) {
    if (!isRuntimeError(e) || e.code === 'CORE_ERR_CANCELLED') throw e;
    throw errors.CROSTINI_ERR_NOT_RUN({ details: { vm, why: e.message, hint: e.remedy }, cause: e });
  }
}
