// `runtime sandbox policy …`.

import { readFileSync, writeFileSync } from 'node:fs';
import { basename, relative, resolve } from 'node:path';
import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { errors } from '../errors.ts';
import { sameAction } from '../policy/actions.ts';
import { disassemble, encode } from '../policy/bpf.ts';
import { describeAction, nameOfSyscall, parseCall } from '../policy/calls.ts';
import { comparePolicies } from '../policy/compare.ts';
import { compilePolicy } from '../policy/compile.ts';
import { evaluate } from '../policy/evaluate.ts';
import { argumentsOf, parseExpectations } from '../policy/expectations.ts';
import { explainAll } from '../policy/explain.ts';
import type { Position } from '../policy/policy.ts';
import { policyFromTrace } from '../policy/record.ts';
import { addJailCommands } from './jail.ts';
import { POLICY, POLICY_OPTIONS, readPolicy, tablesFor } from './options.ts';

export function addCommands(commands: CommandRegistry): void {
  addJailCommands(commands);
  commands.add(
    {
      name: 'sandbox policy check',
      summary: 'read seccomp policies and say what is wrong with them',
      description: 'Each file is read and compiled. The first error of each is told, and all warnings.',
      args: [{ ...POLICY, name: 'policies', summary: 'files of policies', variadic: true }],
      options: POLICY_OPTIONS,
    },
    async ({ args, options, io }) => {
      const rows: unknown[] = [];
      let failed = false;
      for (const file of args) {
        try {
          const policy = readPolicy(file, options, io);
          const program = compilePolicy(policy);
          for (const { at, text } of policy.warnings) await io.err(`${place(at, io)}: warning: ${text}`);
          const defaultAction = describeAction(policy.defaultAction, policy.tables);
          rows.push({ file, syscalls: policy.rules.size, instructions: program.length, default: defaultAction });
        } catch (e) {
          if (args.length === 1) throw e;
          failed = true;
          await io.err((e as Error).message);
        }
      }
      await io.data(rows);
      return failed ? 1 : 0;
    },
  );

  commands.add(
    {
      name: 'sandbox policy compile',
      summary: 'make the BPF program of a seccomp policy',
      description:
        'The program is what minijail0 --seccomp-bpf-binary and seccomp(2) take. Without --output it is printed.',
      args: [POLICY],
      options: { ...POLICY_OPTIONS, output: { type: 'string', short: 'o', summary: 'file to write it to' } },
    },
    async ({ args: [file = ''], options, io }) => {
      const policy = readPolicy(file, options, io);
      const program = compilePolicy(policy);
      for (const { at, text } of policy.warnings) await io.err(`${place(at, io)}: warning: ${text}`);
      if (options.output === undefined) return await io.out(disassemble(program).join('\n'));
      writeFileSync(resolve(io.cwd, options.output), encode(program));
      await io.err(`${options.output}: ${program.length} instructions`);
    },
  );

  commands.add(
    {
      name: 'sandbox policy explain',
      summary: 'say what a seccomp policy decides, and which line does',
      description:
        'With arguments, in order or as argN=VALUE, it is one decision. Without, it is every line about the system call, with an example of arguments that it decides.',
      args: [
        POLICY,
        { name: 'call', summary: 'system call, then its arguments: ioctl 3 TCGETS', required: true, variadic: true },
      ],
      options: POLICY_OPTIONS,
    },
    async ({ args: [file = '', ...words], options, io }) => {
      const policy = readPolicy(file, options, io);
      const call = parseCall(words, policy.tables);
      if (call.args.size === 0) {
        const rows = explainAll(policy, call.number).map(({ action, at, why, example }) => ({
          ...{ decision: describeAction(action, policy.tables), line: place(at, io), source: sourceOf(at), why },
          example: showArguments(example),
        }));
        return await io.data(rows);
      }
      const { auditArch } = policy.tables;
      const { action, at, why } = evaluate(policy, { auditArch, number: call.number, args: argumentsOf(call) });
      const decision = describeAction(action, policy.tables);
      await io.data({ call: words.join(' '), decision, line: place(at, io), source: sourceOf(at), why });
    },
  );

  commands.add(
    {
      name: 'sandbox policy diff',
      summary: 'compare what two seccomp policies decide',
      description:
        'All arguments are compared, not only some: what is not shown is decided alike. The exit code is 1 where they differ.',
      args: [
        { ...POLICY, name: 'left' },
        { ...POLICY, name: 'right' },
      ],
      options: {
        ...POLICY_OPTIONS,
        'right-dialect': { type: 'string', choices: ['python', 'c'], summary: 'of the second, if it is another one' },
      },
    },
    async ({ args: [leftFile = '', rightFile = ''], options, io }) => {
      const left = readPolicy(leftFile, options, io);
      const right = readPolicy(rightFile, options, io, options['right-dialect']);
      const differences = comparePolicies(left, right);
      const rows = differences.map(({ number, args, left: a, right: b }) => ({
        syscall: number === undefined ? 'all others' : nameOfSyscall(number, left.tables),
        arguments: showArguments(args),
        left: describeAction(a.action, left.tables),
        leftLine: place(a.at, io),
        right: describeAction(b.action, right.tables),
        rightLine: place(b.at, io),
      }));
      await io.data(rows);
      return rows.length === 0 ? 0 : 1;
    },
  );

  commands.add(
    {
      name: 'sandbox policy test',
      summary: 'compare the decisions of a seccomp policy with those expected',
      description:
        'A table has a call, an arrow and an action in each line: ioctl arg1=TCGETS -> allow. What is not given is 0.',
      args: [POLICY, { name: 'table', summary: 'file of what is expected', required: true }],
      options: POLICY_OPTIONS,
    },
    async ({ args: [file = '', table = ''], options, io }) => {
      const policy = readPolicy(file, options, io);
      const expectations = parseExpectations(readFileOf(resolve(io.cwd, table)), table, policy.tables);
      const wrong: unknown[] = [];
      for (const { line, text, call, action } of expectations) {
        const { auditArch } = policy.tables;
        const decision = evaluate(policy, { auditArch, number: call.number, args: argumentsOf(call) });
        if (sameAction(decision.action, action)) continue;
        const decided = describeAction(decision.action, policy.tables);
        wrong.push({
          line: `${table}:${line}`,
          expected: text,
          decided,
          by: place(decision.at, io),
          why: decision.why,
        });
      }
      if (wrong.length > 0) await io.data(wrong);
      await io.err(`${expectations.length - wrong.length} of ${expectations.length} are decided as expected.`);
      return wrong.length === 0 ? 0 : 1;
    },
  );

  commands.add(
    {
      name: 'sandbox policy record',
      summary: 'make a seccomp policy from what strace saw a program do',
      description:
        'The trace is made with: strace -f -e raw=all -o trace.txt COMMAND. Only what happened is allowed: run all that the program is to do, more than once.',
      args: [{ name: 'traces', summary: 'files that strace wrote', required: true, variadic: true }],
      options: {
        arch: POLICY_OPTIONS.arch,
        constants: POLICY_OPTIONS.constants,
        dialect: POLICY_OPTIONS.dialect,
        output: { type: 'string', short: 'o', summary: 'file to write it to; default: standard output' },
      },
    },
    async ({ args, options, io }) => {
      const tables = tablesFor(options, io.cwd);
      const traces = args.map((file) => ({ file, text: readFileOf(resolve(io.cwd, file)) }));
      const policy = policyFromTrace(traces, tables, options.dialect === 'c' ? 'c' : 'python');
      if (options.output === undefined) return await io.out(policy.trimEnd());
      writeFileSync(resolve(io.cwd, options.output), policy);
    },
  );
}

function place(at: Position | undefined, { cwd }: CommandIo): string {
  if (at === undefined) return '';
  const path = relative(cwd, at.file);
  return `${path.startsWith('..') ? at.file : path}:${at.line}`;
}

function sourceOf(at: Position | undefined): string {
  if (at === undefined) return '';
  return readFileOf(at.file).split('\n')[at.line - 1]?.trim() ?? '';
}

function showArguments(args: readonly bigint[]): string {
  const last = args.findLastIndex((value) => value !== 0n);
  return args
    .slice(0, last + 1)
    .map((value) => (value < 10n ? `${value}` : `0x${value.toString(16)}`))
    .join(' ');
}

const MAX_FILE_BYTES = 256 * 2 ** 20;

function readFileOf(file: string): string {
  try {
    const bytes = readFileSync(file);
    if (bytes.length <= MAX_FILE_BYTES) return bytes.toString('utf8');
  } catch (e) {
    throw errors.SANDBOX_ERR_POLICY_FILE({ details: { file: basename(file), why: (e as Error).message } });
  }
  throw errors.SANDBOX_ERR_POLICY_FILE({
    details: { file: basename(file), why: `it is over ${MAX_FILE_BYTES} bytes` },
  });
}
