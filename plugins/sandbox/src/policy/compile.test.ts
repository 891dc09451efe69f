// A compiled program decides what the lines say, for random policies: for all arguments at once, and by running it.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { returnValue } from './actions.ts';
import { Diagrams } from './diagram.ts';
import {
  type Action,
  type Atom,
  compilePolicy,
  evaluate,
  type Filter,
  Interpreter,
  type Policy,
  tablesOf,
} from './index.ts';
import { argumentsNear, type Halves } from './probes.ts';
import { diagramOfProgram } from './program-diagram.ts';
import { parseText } from './test-policies.ts';

const actions: fc.Arbitrary<Action> = fc.oneof(
  fc.constantFrom(
    ...(['allow', 'log', 'trace', 'trap', 'user-notify', 'kill-thread', 'kill-process'] as const).map((kind) => ({
      kind,
    })),
  ),
  fc.record({ kind: fc.constant('errno' as const), errno: fc.integer({ min: 0, max: 0xffff }) }),
);

// Few enough that conditions meet each other, and those where halves carry over.
const values = fc.oneof(
  fc.constantFrom(0n, 1n, 2n, 3n, 4n, 0x5401n, 0x5402n, 0xffff_ffffn, 0x1_0000_0000n, 0x1_0000_0001n, 2n ** 64n - 1n),
  fc.bigInt({ min: 0n, max: 15n }),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);
const atoms: fc.Arbitrary<Atom> = fc.record({
  argument: fc.integer({ min: 0, max: 2 }),
  operator: fc.constantFrom('==', '==', '!=', '<', '<=', '>', '>=', '&', 'in'),
  value: values,
});
const at = { file: 'random', line: 1, column: 1 };
const filters: fc.Arbitrary<Filter> = fc.record({
  condition: fc.array(fc.array(atoms, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 }),
  action: actions,
  at: fc.constant(at),
});

const policies: fc.Arbitrary<Policy> = fc
  .record({
    architecture: fc.constantFrom('x86_64', 'aarch64', 'arm'),
    rules: fc.dictionary(
      fc.integer({ min: 0, max: 60 }).map(String),
      fc.record({
        filters: fc.array(filters, { maxLength: 3 }),
        last: fc.option(actions, { nil: undefined }),
        frequency: fc.integer({ min: 0, max: 1000 }),
      }),
      { maxKeys: 25 },
    ),
    defaultAction: actions,
    foreignAction: actions,
  })
  .map(({ architecture, rules, defaultAction, foreignAction }) => {
    const tables = tablesOf(architecture as 'x86_64');
    const cut = (atom: Atom): Atom => ({ ...atom, value: BigInt.asUintN(tables.bits, atom.value) });
    const entries = Object.entries(rules).map(([key, rule]) => {
      const conditional = rule.filters.map((filter) => ({
        ...filter,
        condition: filter.condition?.map((clause) => clause.map(cut)),
      }));
      const end = rule.last === undefined ? [] : [{ condition: undefined, action: rule.last, at }];
      const number = Number(key);
      return [number, { name: key, number, frequency: rule.frequency, filters: [...conditional, ...end] }] as const;
    });
    return {
      ...{ file: 'random', dialect: 'python', tables, rules: new Map(entries.sort(([a], [b]) => a - b)) },
      ...{ defaultAction, defaultAt: undefined, foreignAction, warnings: [] },
    };
  });

test('a program decides what its policy says, for all arguments', () => {
  const check = fc.property(policies, (policy) => {
    const program = compilePolicy(policy);
    const { auditArch, bits } = policy.tables;
    for (const number of [...policy.rules.keys()].flatMap((known) => [known, known + 1])) {
      const diagrams = new Diagrams('random');
      const otherwise = returnValue(policy.defaultAction);
      const said = diagrams.filters(
        policy.rules.get(number)?.filters ?? [],
        bits,
        ({ action }) => returnValue(action),
        otherwise,
      );
      expect(diagramOfProgram(diagrams, program, { auditArch, number })).toBe(said);
    }
  });
  fc.assert(check, { numRuns: 100 });
});

test('a program run on a call decides what its policy says', () => {
  const picks = fc.array(fc.nat(), { minLength: 200, maxLength: 200 });
  const check = fc.property(
    policies,
    picks,
    fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    (policy, random, more) => {
      const program = new Interpreter(compilePolicy(policy));
      const near = argumentsNear(policy);
      const whole = ({ low, high }: Halves) => BigInt(low) + (BigInt(high) << 32n);
      for (const [index, pick] of random.entries()) {
        const number = pick % 63;
        const args = Array.from({ length: 6 }, (_, argument) => {
          const all = near.get(number)?.[argument] ?? [];
          return all.length === 0 ? (more[argument] ?? 0n) : whole(all[(pick >> argument) % all.length] as Halves);
        });
        const auditArch = index % 20 === 0 ? 7 : policy.tables.auditArch;
        const call = { auditArch, number: index % 17 === 0 ? number + 2 ** 30 : number, args };
        expect(program.decide(call)).toEqual(evaluate(policy, call).action);
      }
    },
  );
  fc.assert(check, { numRuns: 100 });
});

test('lists of values take an instruction each, and are searched', () => {
  const list = Array.from({ length: 60 }, (_, index) => `arg1 == ${index * 7 + 0x5400}`).join(' || ');
  const program = compilePolicy(parseText(`ioctl: ${list}\n`));
  expect(program.length).toBeLessThan(95);
  const run = new Interpreter(program);
  const { auditArch } = tablesOf('x86_64');
  expect(run.decide({ auditArch, number: 16, args: [0n, BigInt(0x5400 + 59 * 7)] })).toEqual({ kind: 'allow' });
  expect(run.steps).toBeLessThan(20);
});

test('what is called most often is found first', () => {
  const all = [...tablesOf('x86_64').syscalls].sort(([, a], [, b]) => a - b).map(([name]) => `${name}: allow`);
  // Neighbours differ, so that no two are one range.
  const lines = all.map((line, index) => (index % 2 === 0 ? line : line.replace(': allow', ': log'))).join('\n');
  const steps = (frequency: string) => {
    const program = new Interpreter(compilePolicy(parseText({ a: `@frequency ./f\n${lines}\n`, f: frequency })));
    program.decide({ auditArch: tablesOf('x86_64').auditArch, number: 232, args: [] });
    return program.steps;
  };
  expect(steps('epoll_wait: 100000\n')).toBeLessThanOrEqual(5);
  expect(steps('')).toBeGreaterThan(7);
});

test('jumps lead further than the 255 instructions that one can skip', () => {
  const lines = Array.from({ length: 300 }, (_, number) => {
    const name = [...tablesOf('x86_64').syscalls].find(([, value]) => value === number)?.[0];
    return `${name}: arg0 == ${number * 3} && arg1 & 5 && arg2 > ${number}; return ${number % 40}`;
  });
  const policy = parseText(lines.join('\n'));
  const program = compilePolicy(policy);
  expect(program.length).toBeGreaterThan(1500);
  const run = new Interpreter(program);
  for (let number = 0; number < 300; number++) {
    for (const args of [
      [BigInt(number * 3), 4n, BigInt(number + 1)],
      [0n, 0n, 0n],
      [BigInt(number * 3), 4n, 0n],
    ]) {
      const call = { auditArch: policy.tables.auditArch, number, args };
      expect(run.decide(call)).toEqual(evaluate(policy, call).action);
    }
  }
});

test('a program longer than the kernel takes is refused', () => {
  const lines = Array.from({ length: 300 }, (_, number) => {
    const name = [...tablesOf('x86_64').syscalls].find(([, value]) => value === number)?.[0];
    return `${name}: ${Array.from({ length: 20 }, (_, index) => `arg${index % 6} == ${number * 31 + index * 977}`).join(' || ')}`;
  });
  expect(() => compilePolicy(parseText(lines.join('\n')))).toThrow('the kernel takes 4096');
});
