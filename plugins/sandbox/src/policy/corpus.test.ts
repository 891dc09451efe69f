// Our own corpus: every construct of both dialects, with what it must decide, as its lines are read and as the program runs.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { argumentsOf, parseExpectations } from './expectations.ts';
import { compilePolicy, evaluate, Interpreter, type ParseOptions, parsePolicy, tablesOf } from './index.ts';

const corpus = join(import.meta.dirname, 'corpus');

const CASES: readonly (readonly [file: string, table: string, options: Omit<ParseOptions, 'tables'>])[] = [
  ['basics.policy', 'basics.expect', { dialect: 'python' }],
  ['included.policy', 'included.expect', { dialect: 'python' }],
  ['denied.denylist', 'denied.expect', { dialect: 'python', denylist: true }],
  ['native.c-policy', 'native.expect', { dialect: 'c', cwd: corpus }],
];

test.each(CASES)('%s decides as %s says', (file, table, options) => {
  const tables = tablesOf('x86_64');
  const policy = parsePolicy(join(corpus, file), { ...options, tables });
  const program = new Interpreter(compilePolicy(policy));
  const { auditArch } = tables;
  for (const { line, call, action } of parseExpectations(readFileSync(join(corpus, table), 'utf8'), table, tables)) {
    const asked = { auditArch, number: call.number, args: argumentsOf(call) };
    expect({ line, ...evaluate(policy, asked).action }).toEqual({ line, ...action });
    expect({ line, ...program.decide(asked) }).toEqual({ line, ...action });
  }
});

test.each(['aarch64', 'riscv64', 'arm'] as const)(
  'lines for other architectures are left out on %s',
  (architecture) => {
    const tables = tablesOf(architecture);
    const text = readFileSync(join(corpus, 'basics.policy'), 'utf8');
    expect(text).toContain('dup2[arch=x86_64]');
    const policy = parsePolicy(join(corpus, 'included.policy'), { dialect: 'python', tables });
    const program = new Interpreter(compilePolicy(policy));
    const number = tables.syscalls.get('read') as number;
    expect(program.decide({ auditArch: tables.auditArch, number, args: [] })).toEqual({ kind: 'allow' });
    // A call of another architecture is never what the policy is about.
    expect(program.decide({ auditArch: tablesOf('x86_64').auditArch, number, args: [] })).toEqual({
      kind: 'kill-thread',
    });
  },
);

test('a call of the x32 ABI is refused by its number where all else is allowed', () => {
  const tables = tablesOf('x86_64');
  const policy = parsePolicy(join(corpus, 'denied.denylist'), { dialect: 'python', denylist: true, tables });
  const program = new Interpreter(compilePolicy(policy));
  for (const number of [0x4000_0000, 0x4000_0001, 0x4000_0141, 0xffff_ffff]) {
    const call = { auditArch: tables.auditArch, number, args: [] };
    expect(program.decide(call)).toEqual({ kind: 'errno', errno: 1 });
    expect(evaluate(policy, call).action).toEqual({ kind: 'errno', errno: 1 });
  }
});
