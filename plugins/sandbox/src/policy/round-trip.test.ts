// A policy written out in either dialect, with all the freedom that each allows, is read as what was meant.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { comparePolicies } from './compare.ts';
import type { Atom, Clause, Dialect, Filter, Policy } from './index.ts';
import { tablesOf } from './index.ts';
import { parseText } from './test-policies.ts';

const NAMES = ['PROT_READ', 'PROT_WRITE', 'PROT_EXEC', 'TCGETS', 'AT_FDCWD', 'O_CLOEXEC'];
const tables = tablesOf('x86_64');
const ALL = 2n ** 64n - 1n;

interface Written {
  readonly text: string;
  readonly value: bigint;
}

const single: fc.Arbitrary<Written> = fc.oneof(
  fc.constantFrom(...NAMES).map((text) => ({ text, value: BigInt.asUintN(64, tables.constants.get(text) as bigint) })),
  fc.bigInt({ min: 0n, max: ALL }).map((value) => ({ text: `0x${value.toString(16)}`, value })),
  fc.bigInt({ min: 0n, max: ALL }).map((value) => ({ text: `0${value.toString(8)}`, value })),
  fc.bigInt({ min: 0n, max: 2n ** 63n }).map((value) => ({ text: `-${value}`, value: BigInt.asUintN(64, -value) })),
  fc.bigInt({ min: 0n, max: 99n }).map((value) => ({ text: `${value}`, value })),
);
const { value: values } = fc.letrec<{ value: Written; part: Written }>((tie) => ({
  part: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    single,
    single.map(({ text, value }) => ({ text: `~${text}`, value: ALL ^ value })),
    tie('value').map(({ text, value }) => ({ text: `(${text})`, value })),
    tie('value').map(({ text, value }) => ({ text: `~(${text})`, value: ALL ^ value })),
  ),
  value: fc.array(tie('part'), { minLength: 1, maxLength: 3, depthIdentifier: 'value' }).map((parts) => ({
    text: parts.map(({ text }) => text).join('|'),
    value: parts.reduce((sum, { value }) => sum | value, 0n),
  })),
}));

const atoms = fc
  .record({
    argument: fc.integer({ min: 0, max: 5 }),
    operator: fc.constantFrom<Atom['operator']>('==', '!=', '<', '<=', '>', '>=', '&', 'in'),
    value: values,
  })
  .map(({ argument, operator, value }) => ({
    atom: { argument, operator, value: value.value },
    text: `arg${argument} ${operator} ${value.text}`,
  }));
const conditions = fc.array(fc.array(atoms, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 });
const at = { file: '', line: 1, column: 1 };

function policyOf(dialect: Dialect, filters: readonly Filter[]): Policy {
  return {
    ...{ file: 'meant', dialect, tables, rules: new Map([[16, { name: 'ioctl', number: 16, frequency: 1, filters }]]) },
    ...{
      defaultAction: { kind: 'kill-thread' },
      defaultAt: undefined,
      foreignAction: { kind: 'kill-thread' },
      warnings: [],
    },
  };
}

test.each(['c', 'python'] as const)('%s', (dialect) => {
  // Tabs are no spaces in C.
  const joiners = fc.constantFrom(' || ', dialect === 'c' ? ' || \\\n  ' : '||\\\n\t');
  const check = fc.property(conditions, joiners, fc.boolean(), (written, joiner, hasError) => {
    const text = written.map((clause) => clause.map(({ text }) => text).join(' && ')).join(joiner);
    const condition: readonly Clause[] = written.map((clause) => clause.map(({ atom }) => atom));
    const error = { kind: 'errno', errno: 13 } as const;
    const filters: readonly Filter[] = !hasError
      ? [{ condition, action: { kind: 'allow' }, at }]
      : dialect === 'python'
        ? [{ condition, action: error, at }]
        : [
            { condition, action: { kind: 'allow' }, at },
            { condition: undefined, action: error, at },
          ];
    const read = parseText(`# one\n  ioctl :  ${text}${hasError ? ' ; return EACCES' : ''} \n`, { dialect });
    expect(comparePolicies(policyOf(dialect, filters), read)).toEqual([]);
  });
  fc.assert(check, { numRuns: 150 });
});
