// A policy from what strace saw: `strace -f -e raw=all -o file`, where every argument is a number.

import { errors } from '../errors.ts';
import type { Dialect } from './policy.ts';
import type { Tables } from './tables.ts';

export interface Trace {
  readonly file: string;
  readonly text: string;
}

/** System calls of which one argument says what they do, and which one. */
const SELECTORS: Readonly<Record<string, number>> = {
  ...{ ioctl: 1, fcntl: 1, fcntl64: 1, prctl: 0, arch_prctl: 0, socket: 0, socketpair: 0, madvise: 2, futex: 1 },
  ...{ bpf: 0, keyctl: 0, seccomp: 0, ptrace: 0, kcmp: 2, personality: 0, unshare: 0, setns: 1, membarrier: 0 },
};
/** Those of which one argument is flags, some of which matter more than all else: memory that can be written and run. */
const FLAGS: Readonly<Record<string, number>> = { mmap: 2, mmap2: 2, mprotect: 2, pkey_mprotect: 2 };

const MAX_LINES = 5_000_000;
/** More different values than this are no list that says anything. */
const MAX_VALUES = 64;

/** `123 ioctl(0x3, 0x5401, 0x7ffc) = 0`, also unfinished; what is resumed was seen before. */
const CALL = /^(?:\[?(?:pid +)?[0-9]+\]? +)?(?:[0-9:.]+ +)?([a-zA-Z_][a-zA-Z0-9_]*)\(([^)]*)/;
const NO_CALL = /^(?:\[?(?:pid +)?[0-9]+\]? +)?(?:[0-9:.]+ +)?(?:---|\+\+\+|<\.\.\.|strace:)/;

/** @throws SANDBOX_ERR_TRACE */
export function policyFromTrace(traces: readonly Trace[], tables: Tables, dialect: Dialect): string {
  const seen = new Map<string, Map<bigint, number>>();
  const counts = new Map<string, number>();
  let lines = 0;
  for (const { file, text } of traces) {
    let line = 0;
    for (const whole of text.split('\n')) {
      line++;
      if (whole.trim() === '' || NO_CALL.test(whole)) continue;
      const fail = (why: string) => errors.SANDBOX_ERR_TRACE({ details: { file, line, why } });
      if (++lines > MAX_LINES) throw fail(`traces may have ${MAX_LINES} lines`);
      const [, name, rest] = CALL.exec(whole) ?? [];
      if (name === undefined || rest === undefined) throw fail(`"${whole.slice(0, 40)}" is no system call`);
      if (!tables.syscalls.has(name)) throw fail(`${tables.architecture} has no system call "${name}"`);
      counts.set(name, (counts.get(name) ?? 0) + 1);
      const index = SELECTORS[name] ?? FLAGS[name];
      if (index === undefined) continue;
      const argument = rest.split(',')[index]?.trim() ?? '';
      // Without raw=all it is a name, which cannot be told from others of the same value.
      if (!/^(?:0x[0-9a-f]+|[0-9]+)$/.test(argument)) throw fail(`"${argument}" is no number: the trace is not raw`);
      const values = seen.get(name) ?? new Map<bigint, number>();
      const value = BigInt.asUintN(tables.bits, BigInt(argument));
      values.set(value, (values.get(value) ?? 0) + 1);
      seen.set(name, values);
    }
  }
  const names = [...counts.keys()].sort((a, b) => (counts.get(b) ?? 0) - (counts.get(a) ?? 0) || (a < b ? -1 : 1));
  const rules = names.map((name) => ruleOf(name, seen.get(name), dialect));
  const heading = [
    `# Recorded on ${tables.architecture}, the most frequent calls first.`,
    '# Only what was seen is allowed. Look at each line, and leave out what the program should not need.',
  ];
  return `${[...heading, ...rules].join('\n')}\n`;
}

function ruleOf(name: string, values: ReadonlyMap<bigint, number> | undefined, dialect: Dialect): string {
  const allow = dialect === 'c' ? '1' : 'allow';
  if (values === undefined || values.size > MAX_VALUES) return `${name}: ${allow}`;
  const hex = (value: bigint) => `0x${value.toString(16)}`;
  const flags = FLAGS[name];
  if (flags === undefined) {
    const list = [...values.keys()].sort((a, b) => (a < b ? -1 : 1));
    return `${name}: ${list.map((value) => `arg${SELECTORS[name]} == ${hex(value)}`).join(' || ')}`;
  }
  // Each kind of memory that was never both written and run stays so.
  const all = [...values.keys()].reduce((sum, value) => sum | value, 0n);
  const [write, run] = [2n, 4n];
  const both = [...values.keys()].some((value) => (value & write) !== 0n && (value & run) !== 0n);
  if (both || (all & (write | run)) !== (write | run)) return `${name}: arg${flags} in ${hex(all)}`;
  return `${name}: arg${flags} in ${hex(all & ~run)} || arg${flags} in ${hex(all & ~write)}`;
}
