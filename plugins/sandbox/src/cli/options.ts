// What all commands about policies can be told.

import { resolve } from 'node:path';
import type { CommandIo, CommandOption } from '@runtime/sdk';
import { errors } from '../errors.ts';
import { parseAction } from '../policy/calls.ts';
import { type ParseOptions, parsePolicy } from '../policy/parse.ts';
import type { Policy } from '../policy/policy.ts';
import { architectureCalled, readConstantsJson, type Tables, tablesOf } from '../policy/tables.ts';

export const POLICY_OPTIONS = {
  dialect: {
    type: 'string',
    choices: ['python', 'c'],
    default: 'python',
    summary: 'python: that of compile_seccomp_policy.py; c: that of minijail0 -S',
  },
  arch: { type: 'string', summary: 'x86_64, aarch64, riscv64 or arm; default: that of this computer' },
  constants: { type: 'string', summary: 'names and numbers from a constants.json of minijail' },
  kill: {
    type: 'string',
    choices: ['kill-thread', 'kill-process', 'trap', 'log'],
    default: 'kill-thread',
    summary: 'what is done with calls that no line is about, unless @default says it',
  },
  'default-action': { type: 'string', summary: 'the same, whatever @default says; python only' },
  denylist: { type: 'boolean', summary: 'the policy lists what is refused (@denylist); python only' },
  duplicates: { type: 'boolean', summary: 'a system call may have several lines; c only, in python it always may' },
  map: { type: 'string', multiple: true, summary: 'FROM=TO: a folder of @include that lies elsewhere' },
} as const satisfies Readonly<Record<string, CommandOption>>;

export interface PolicyOptions {
  readonly dialect: string;
  readonly arch: string | undefined;
  readonly constants: string | undefined;
  readonly kill: string;
  readonly 'default-action': string | undefined;
  readonly denylist: boolean;
  readonly duplicates: boolean;
  readonly map: readonly string[];
}

export const POLICY = { name: 'policy', summary: 'file of the policy', required: true } as const;

export function tablesFor(options: Pick<PolicyOptions, 'arch' | 'constants'>, cwd: string): Tables {
  if (options.constants !== undefined) return readConstantsJson(resolve(cwd, options.constants));
  return tablesOf(architectureCalled(options.arch ?? process.arch));
}

const usage = (call: string, why: string) => errors.SANDBOX_ERR_USAGE({ details: { option: call, why } });

/** @param dialect instead of that of the options */
export function readPolicy(
  file: string,
  options: PolicyOptions,
  { cwd }: Pick<CommandIo, 'cwd'>,
  dialect?: string,
): Policy {
  const tables = tablesFor(options, cwd);
  const asked = options['default-action'];
  const defaultAction = asked === undefined ? undefined : parseAction(asked, tables);
  if (asked !== undefined && defaultAction === undefined) throw usage('default-action', `"${asked}" is no action`);
  const map = options.map.map((text) => {
    const [from = '', to, ...more] = text.split('=');
    if (to === undefined || more.length > 0 || from === '') throw usage('map', `"${text}" is not FROM=TO`);
    return { from, to: to.startsWith('/') ? to : resolve(cwd, to) };
  });
  const parse: ParseOptions = {
    dialect: (dialect ?? options.dialect) === 'c' ? 'c' : 'python',
    kill: options.kill as NonNullable<ParseOptions['kill']>,
    ...{ tables, map, cwd, denylist: options.denylist, duplicates: options.duplicates },
    ...(defaultAction === undefined ? {} : { defaultAction }),
  };
  return parsePolicy(resolve(cwd, file), parse);
}
