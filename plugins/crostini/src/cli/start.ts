// `runtime start`

import { resolve } from 'node:path';
import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import type { ConciergeManager } from '../concierge/concierge-manager.ts';
import { type Desk, untilGone } from '../concierge/desk.ts';
import type { StartTermina, TerminaVm } from '../contract.ts';
import { errors } from '../errors.ts';
import { readTemplate } from '../template/parse.ts';
import { MAX_MIB, MIN_MIB, toMib } from '../template/schema.ts';
import { checkOnly, startFromTemplate, templateRequest } from '../template/start-from-template.ts';
import { DEFAULT_VM } from './defaults.ts';
import type { CommandParts } from './index.ts';
import { vmRow } from './list.ts';

/** What `start` and other commands that start a VM on their way can be told. */
export const START_OPTIONS = {
  cpus: { type: 'number', summary: 'virtual CPUs' },
  mem: { type: 'string', summary: 'memory: MiB, or such as 2G' },
  profile: { type: 'string', choices: ['full', 'fast'], summary: 'image: full has what containers need' },
  timeout: { type: 'number', summary: 'seconds that the guest may take until it calls' },
} as const;

interface StartValues {
  readonly cpus: number | undefined;
  readonly mem: string | undefined;
  readonly profile: string | undefined;
  readonly timeout: number | undefined;
}

export function addStart(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'start',
      summary: 'start a VM',
      description:
        'Starts Termina and waits until its guest is ready. The first time, its image is made. In a runtime of its own ' +
        '(runtime --plugins crostini start) the VM ends with the command; other commands reach it meanwhile.',
      lasting: true,
      args: [{ name: 'name', summary: `default ${DEFAULT_VM}` }],
      options: {
        ...START_OPTIONS,
        template: { type: 'string', summary: 'YAML file: resources, users, scripts, ports; other options override it' },
        check: { type: 'boolean', summary: 'only look whether the template is right, and show what it asks for' },
      },
    },
    async ({ args: [name = DEFAULT_VM], options, io, signal }) => {
      const template = options.template === undefined ? undefined : readTemplate(resolve(io.cwd, options.template));
      const request = { ...templateRequest(template), ...startRequest(name, options) };
      if (options.check) return await checkOnly(template, request, io);
      const vm =
        template === undefined
          ? await startWithProgress(parts.manager, request, io, signal)
          : await startFromTemplate(parts, template, request, io, signal);
      await io.data(vmRow(vm));
      if (!parts.lastsOnlyHere) return;
      const disk = vm.profile === 'full' ? '; what is on its disk goes with it' : '';
      await io.err(`VM ${name} runs until ^C, or: runtime stop ${name}${disk}`);
      await stayUntil(parts.desk, name, signal);
    },
  );
}

/** @throws CROSTINI_ERR_USAGE */
export function startRequest(name: string, { cpus, mem, profile, timeout }: StartValues): StartTermina {
  return {
    name,
    ...(cpus === undefined ? {} : { cpus: wholeNumber('cpus', cpus, 1, 64) }),
    ...(mem === undefined ? {} : { memoryMib: memoryMib(mem) }),
    ...(profile === undefined ? {} : { profile: profile === 'fast' ? 'fast' : 'full' }),
    ...(timeout === undefined ? {} : { timeoutMs: wholeNumber('timeout', timeout, 1, 3_600) * 1_000 }),
  };
}

/** Shows the stages as they come. */
export async function startWithProgress(
  manager: ConciergeManager,
  request: StartTermina,
  io: CommandIo,
  signal: AbortSignal,
): Promise<TerminaVm> {
  let told: Promise<void> = Promise.resolve();
  const onStage = (stage: string, fraction?: number): void => {
    told = told.then(() => io.progress(stage, fraction)).catch(() => {});
  };
  const vm = await manager.start(request, { signal, onStage });
  await told;
  return vm;
}

/** That VM has ended, or nobody waits any more. */
export async function stayUntil(desk: Desk, name: string, signal: AbortSignal, owner?: string): Promise<void> {
  const asked = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await Promise.race([untilGone(desk, name, owner), asked]);
}

const MEM = /^[1-9][0-9]{0,6}[MG]?$/;

function memoryMib(text: string): number {
  if (!MEM.test(text)) throw refuse('mem', `"${text}" is neither MiB as a number nor such as 512M or 2G`);
  return wholeNumber('mem', toMib(text), MIN_MIB, MAX_MIB);
}

/** @throws CROSTINI_ERR_USAGE */
export function wholeNumber(option: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw refuse(option, `${value} is not a whole number from ${least} to ${most}`);
}

function refuse(option: string, why: string): Error {
  return errors.CROSTINI_ERR_USAGE({ details: { option, why } });
}
