// Compares what our compiler makes of seccomp policies with what minijail's own makes of them: exactly, for all arguments at
// once, and by running both programs on many calls. Their sources and policies are fetched by whoever runs this, and stay
// where they are.
//
//   git clone https://github.com/google/minijail && make -C minijail parse_seccomp_policy
//   node --conditions=@runtime/source scripts/policy-peers.check.ts --minijail minijail [--dialect c] [--probes 1000000] FOLDER…
//
// The architecture of a policy is the one that its path names, and else x86_64. The C tool knows only that of this computer.

import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { decode, type Instruction, NUMBER } from '../plugins/sandbox/src/policy/bpf.ts';
import { parseAction } from '../plugins/sandbox/src/policy/calls.ts';
import { compilePolicy } from '../plugins/sandbox/src/policy/compile.ts';
import { Diagrams } from '../plugins/sandbox/src/policy/diagram.ts';
import { Interpreter } from '../plugins/sandbox/src/policy/interpret.ts';
import { parsePolicy } from '../plugins/sandbox/src/policy/parse.ts';
import type { Policy } from '../plugins/sandbox/src/policy/policy.ts';
import { argumentsNear, randomNumbers } from '../plugins/sandbox/src/policy/probes.ts';
import { diagramOfProgram } from '../plugins/sandbox/src/policy/program-diagram.ts';
import {
  type Architecture,
  architectureCalled,
  namesOfArchitecture,
  readConstantsJson,
  type Tables,
  tablesOf,
} from '../plugins/sandbox/src/policy/tables.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minijail: { type: 'string', default: 'minijail' },
    dialect: { type: 'string', default: 'python' },
    strategy: { type: 'string', default: 'bst' },
    'default-action': { type: 'string' },
    /** The tables of theirs, for both; otherwise ours are written for them. */
    constants: { type: 'string' },
    map: { type: 'string', multiple: true, default: [] },
    probes: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
  },
});

const folder = mkdtempSync(join(tmpdir(), 'policy-peers-'));
const probesEach = Number(values.probes);
const random = randomNumbers(Number(values.seed));

function constantsFile(tables: Tables): string {
  if (values.constants !== undefined) return resolve(values.constants);
  const file = join(folder, `${tables.architecture}.json`);
  const text = JSON.stringify({
    arch_nr: tables.auditArch,
    arch_name: namesOfArchitecture(tables.architecture).at(-1),
    bits: tables.bits,
    syscalls: Object.fromEntries(tables.syscalls),
    constants: Object.fromEntries(
      Array.from(tables.constants.keys(), (name) => [name, `#${tables.constants.get(name)}#`]),
    ),
  });
  writeFileSync(file, text.replaceAll(/"#(\d+)#"/g, '$1'));
  return file;
}

/** `undefined`: it refuses the policy. */
function theirProgram(file: string, tables: Tables): readonly Instruction[] | undefined {
  const output = join(folder, 'program.bpf');
  rmSync(output, { force: true });
  const action = values['default-action'];
  const tool = values.dialect === 'c' ? 'parse_seccomp_policy' : 'tools/compile_seccomp_policy.py';
  const command =
    values.dialect === 'c'
      ? [resolve(values.minijail, tool), `--dump=${output}`, file]
      : [
          'python3',
          resolve(values.minijail, tool),
          ...['--arch-json', constantsFile(tables), '--optimization-strategy', values.strategy],
          ...(action === undefined ? [] : ['--default-action', action]),
          ...[file, output],
        ];
  const [program = '', ...args] = command;
  const { status, error } = spawnSync(program, args, { cwd: dirname(file), stdio: 'ignore' });
  if (error !== undefined) throw error;
  return status === 0 ? decode(readFileSync(output)) : undefined;
}

/** All numbers at which either program could change its mind, and those beside them. */
function numbersOf(tables: Tables, programs: readonly (readonly Instruction[])[]): readonly number[] {
  const numbers = new Set<number>([0, 0xffff_ffff, 0x4000_0000, 0x4000_0001, 0x8000_0000, ...tables.syscalls.values()]);
  for (const { k } of programs.flat()) if (k < 0x1_0000) numbers.add(k);
  return [...numbers].flatMap((number) => [number - 1, number, number + 1]).filter((number) => number >>> 0 === number);
}

function probe(policy: Policy, ours: Interpreter, theirs: Interpreter, numbers: readonly number[]): number {
  const near = argumentsNear(policy);
  const { auditArch } = policy.tables;
  const ruled = [...policy.rules.values()].filter(({ filters }) =>
    filters.some(({ condition }) => condition !== undefined),
  );
  for (let count = 0; count < probesEach; count++) {
    const rule = ruled.length === 0 || count % 4 === 0 ? undefined : ruled[random(ruled.length)];
    const number = rule?.number ?? (numbers[random(numbers.length)] as number);
    ours.data[NUMBER] = number;
    ours.data[1] = count % 256 === 0 ? random(2 ** 32) : auditArch;
    const candidates = near.get(number);
    for (let index = 0; index < 6; index++) {
      const values = candidates?.[index];
      const word = values === undefined || values.length === 0 ? undefined : values[random(values.length)];
      // What no condition is about is now and then anything.
      ours.data[4 + 2 * index] = word?.low ?? random(2 ** 32);
      ours.data[5 + 2 * index] = word?.high ?? random(2 ** 32);
    }
    theirs.data.set(ours.data);
    if (ours.run() !== theirs.run()) throw new Error(`they differ at ${[...ours.data].join(' ')}`);
  }
  return probesEach;
}

const total = { policies: 0, refused: 0, missed: 0, differ: 0, calls: 0, probes: 0, ours: 0, theirs: 0, longer: 0 };
const architectureIn = (path: string): Architecture => {
  const name = /(?:^|[/_.-])(x86_64|amd64|arm64|aarch64|riscv64|arm)(?=[/_.-])/.exec(path)?.[1];
  return architectureCalled(name ?? 'x86_64');
};

for (const given of positionals) {
  const root = resolve(given);
  const files = statSync(root).isFile()
    ? [root]
    : globSync('**/*.policy', { cwd: root }).map((file) => join(root, file));
  for (const file of files.sort()) {
    const architecture = architectureIn(file);
    if (values.only !== undefined && architecture !== values.only) continue;
    const tables = values.constants === undefined ? tablesOf(architecture) : readConstantsJson(values.constants);
    const theirs = theirProgram(file, tables);
    const asked = values['default-action'];
    const defaultAction = asked === undefined ? undefined : parseAction(asked, tables);
    let policy: Policy;
    let ours: readonly Instruction[];
    try {
      policy = parsePolicy(file, {
        ...{ dialect: values.dialect === 'c' ? 'c' : 'python', tables, cwd: dirname(file) },
        ...(defaultAction === undefined ? {} : { defaultAction }),
      });
      ours = compilePolicy(policy);
    } catch (e) {
      if (theirs === undefined) {
        total.refused++;
        continue;
      }
      total.missed++;
      console.log(`${file}: they take it, and we do not: ${(e as Error).message}`);
      continue;
    }
    if (theirs === undefined) {
      console.log(`${file}: we take it, and they do not`);
      continue;
    }
    total.policies++;
    total.ours += ours.length;
    total.theirs += theirs.length;
    if (ours.length > theirs.length) total.longer++;
    const numbers = numbersOf(tables, [ours, theirs]);
    const { auditArch } = tables;
    try {
      for (const number of new Set(numbers)) {
        for (const call of [{ auditArch, number }]) {
          const diagrams = new Diagrams(file);
          const [a, b] = [diagramOfProgram(diagrams, ours, call), diagramOfProgram(diagrams, theirs, call)];
          total.calls++;
          if (a !== b) throw new Error(`they differ for number ${number}: ${diagrams.difference(a, b)}`);
        }
      }
      total.probes += probe(policy, new Interpreter(ours), new Interpreter(theirs), numbers);
    } catch (e) {
      total.differ++;
      console.log(`${file}: ${(e as Error).message}`);
    }
  }
}
rmSync(folder, { recursive: true });
console.log(
  `${total.policies} policies compared, ${total.refused} refused by both, ${total.missed} taken only by minijail, ${total.differ} decide differently`,
);
console.log(`${total.calls} system calls compared for all arguments; ${total.probes} calls run through both programs`);
console.log(`${total.ours} instructions here, ${total.theirs} there; ${total.longer} programs longer here`);
process.exitCode = total.missed + total.differ === 0 ? 0 : 1;
