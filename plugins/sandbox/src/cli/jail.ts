// `runtime sandbox jail …` and `runtime sandbox run`.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { errors } from '../errors.ts';
import { planFromMinijail } from '../jail/from-minijail.ts';
import { type JailPlan, parsePlan } from '../jail/plan.ts';
import { planDifferences, planRows } from '../jail/show.ts';
import { startPlan } from '../launch/run-plan.ts';

const MAX_PLAN_BYTES = 2 ** 20;
const FLAGS = { name: 'flags', summary: 'flags of minijail0, after --', variadic: true } as const;
const PLAN = { type: 'string', short: 'p', summary: 'a plan as JSON, instead of flags' } as const;

export function addJailCommands(commands: CommandRegistry): void {
  commands.add(
    {
      name: 'sandbox jail show',
      summary: 'say what a jail guarantees',
      description:
        'Of flags of minijail0 (runtime sandbox jail show -- -v -p -c 0), or of a plan. With --format json: the plan.',
      args: [FLAGS],
      options: { plan: PLAN },
    },
    async ({ args, options, io }) => {
      const { plan } = readJail(args, options.plan, io);
      await io.data(planRows(plan));
    },
  );

  commands.add(
    {
      name: 'sandbox jail diff',
      summary: 'compare what two jails guarantee',
      description:
        'Each is a file: a plan as JSON, or a configuration file of minijail0. The exit code is 1 where they differ.',
      args: [
        { name: 'left', summary: 'a file', required: true },
        { name: 'right', summary: 'a file', required: true },
      ],
    },
    async ({ args: [left = '', right = ''], io }) => {
      const rows = planDifferences(readPlanFile(left, io), readPlanFile(right, io));
      await io.data(rows);
      return rows.length === 0 ? 0 : 1;
    },
  );

  commands.add(
    {
      name: 'sandbox run',
      summary: 'run a program in a jail',
      description:
        'runtime sandbox run -- FLAGS -- PROGRAM, with the flags of minijail0, or with --plan. The exit code is that of minijail0.',
      args: [{ ...FLAGS, summary: 'flags of minijail0, --, the program and its arguments', required: true }],
      options: { plan: PLAN },
    },
    async ({ args, options, io, signal }) => {
      const { plan, program } = readJail(args, options.plan, io);
      if (program.length === 0)
        throw errors.SANDBOX_ERR_USAGE({ details: { option: 'plan', why: 'a program must follow' } });
      const running = startPlan(plan, program, io.cwd, 'pipe');
      if (typeof running === 'number') return running;
      const { child, exit } = running;
      signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
      const copies = [
        copy(child.stdout, (bytes) => io.write(bytes)),
        copy(child.stderr, (bytes) => io.writeErr(bytes)),
      ];
      child.stdin?.on('error', () => {});
      void feed(io, child.stdin);
      const code = await exit;
      await Promise.all(copies);
      return code;
    },
  );
}

async function copy(from: NodeJS.ReadableStream | null, to: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  for await (const chunk of from ?? []) await to(chunk as unknown as Uint8Array);
}

async function feed(io: CommandIo, to: NodeJS.WritableStream | null): Promise<void> {
  if (to === null) return;
  if (io.terminal.inputIsTTY === true) return void to.end();
  for await (const chunk of io.input) to.write(chunk);
  to.end();
}

function readJail(
  args: readonly string[],
  file: string | undefined,
  io: CommandIo,
): { readonly plan: JailPlan; readonly program: readonly string[] } {
  if (file === undefined) return planFromMinijail(args, io.cwd);
  return { plan: readPlanFile(file, io), program: args };
}

/** @throws SANDBOX_ERR_JAIL, SANDBOX_ERR_FLAG */
function readPlanFile(file: string, { cwd }: Pick<CommandIo, 'cwd'>): JailPlan {
  const refuse = (why: string) => errors.SANDBOX_ERR_JAIL({ details: { origin: file, why } });
  let text: string;
  try {
    text = readFileSync(resolve(cwd, file), 'utf8');
  } catch (e) {
    throw refuse((e as Error).message);
  }
  if (text.length > MAX_PLAN_BYTES) throw refuse(`it has over ${MAX_PLAN_BYTES} bytes`);
  if (text.startsWith('% minijail')) return planFromMinijail(['--config', file], cwd).plan;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    throw refuse((e as Error).message);
  }
  return parsePlan(value, file);
}
