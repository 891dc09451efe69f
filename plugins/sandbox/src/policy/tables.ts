// What system calls and constants are called on an architecture: ours (tables/*.txt), or those of a constants.json of minijail.

import { readFileSync } from 'node:fs';
import { didYouMean } from '@runtime/sdk';
import { errors } from '../errors.ts';

export interface Tables {
  /** As policies name it: `[arch=…]`. */
  readonly architecture: string;
  /** AUDIT_ARCH_*, linux/audit.h. */
  readonly auditArch: number;
  /** Of an argument. */
  readonly bits: 32 | 64;
  readonly syscalls: ReadonlyMap<string, number>;
  readonly constants: Constants;
  /** Namespace → group → names of system calls. */
  readonly groups: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;
}

export interface Constants {
  get(name: string): bigint | undefined;
  keys(): Iterable<string>;
}

export const ARCHITECTURES = ['x86_64', 'aarch64', 'riscv64', 'arm'] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/** linux/audit.h: the machine of ELF, with flags for 64 bits and little-endian. */
const AUDIT: Readonly<Record<Architecture, number>> = {
  x86_64: 0xc000_003e,
  aarch64: 0xc000_00b7,
  riscv64: 0xc000_00f3,
  arm: 0x4000_0028,
};

/** minijail says arm64, the kernel aarch64, Node x64. */
const OTHER_NAMES: Readonly<Record<string, Architecture>> = {
  arm64: 'aarch64',
  amd64: 'x86_64',
  x64: 'x86_64',
};

/** Of calls of the x32 ABI, which have the architecture of x86_64 and this bit in their number. */
export const X32_BIT = 0x4000_0000;

export function architectureCalled(name: string): Architecture {
  const known = OTHER_NAMES[name] ?? ARCHITECTURES.find((architecture) => architecture === name);
  if (known !== undefined) return known;
  const suggestion = didYouMean(name, ARCHITECTURES);
  throw errors.SANDBOX_ERR_ARCHITECTURE({
    details: { architecture: name, suggestion, known: ARCHITECTURES.join(', ') },
  });
}

/** Both names of it, since policies use either. */
export function namesOfArchitecture(name: string): readonly string[] {
  return name === 'aarch64' || name === 'arm64' ? ['aarch64', 'arm64'] : [name];
}

const loaded = new Map<Architecture, Tables>();

/** Ours, read when they are first needed. */
export function tablesOf(architecture: Architecture): Tables {
  const known = loaded.get(architecture);
  if (known !== undefined) return known;
  const syscalls = new Map<string, number>();
  for (const [name, value] of readTable('syscalls.txt', architecture)) syscalls.set(name, Number(value));
  const values = new Map(readTable('constants.txt', architecture));
  // Few of the thousands are asked for.
  const constants: Constants = {
    keys: () => values.keys(),
    get(name) {
      const value = values.get(name);
      return value === undefined ? undefined : BigInt(value);
    },
  };
  const tables: Tables = {
    ...{ architecture, auditArch: AUDIT[architecture], bits: architecture === 'arm' ? 32 : 64 },
    ...{ syscalls, constants, groups: new Map() },
  };
  loaded.set(architecture, tables);
  return tables;
}

function* readTable(file: string, architecture: Architecture): Generator<readonly [string, string]> {
  const text = readFileSync(new URL(`../../tables/${file}`, import.meta.url), 'latin1');
  const column = ARCHITECTURES.indexOf(architecture);
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const [name = '', ...values] = line.split(' ');
    const value = values.length === 1 ? values[0] : values[column];
    if (value !== undefined && value !== '-') yield [name, value];
  }
}

const MAX_TABLE_BYTES = 4 * 2 ** 20;

/** Those of a constants.json of minijail. */
export function readConstantsJson(file: string): Tables {
  const fail = (why: string) => errors.SANDBOX_ERR_TABLES({ details: { file, why } });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (e) {
    throw fail((e as Error).message);
  }
  if (text.length > MAX_TABLE_BYTES) throw fail(`it is longer than ${MAX_TABLE_BYTES} bytes`);
  let json: unknown;
  try {
    // Numbers over 2^53 are kept as they are written.
    json = JSON.parse(text, (_, value: unknown, context?: { readonly source?: string }) =>
      typeof value === 'number' && !Number.isSafeInteger(value) && /^-?[0-9]+$/.test(context?.source ?? '')
        ? BigInt(context?.source ?? '')
        : value,
    );
  } catch (e) {
    throw fail((e as Error).message);
  }
  if (!isRecord(json)) throw fail('it is no object');
  const { arch_nr: auditArch, arch_name: architecture, bits, syscalls, constants, syscall_groups: groups = {} } = json;
  if (typeof architecture !== 'string') throw fail('arch_name is missing');
  if (typeof auditArch !== 'number' || auditArch >>> 0 !== auditArch) throw fail('arch_nr must be a number of 32 bits');
  if (bits !== 32 && bits !== 64) throw fail('bits must be 32 or 64');
  if (!isRecord(syscalls) || !isRecord(constants) || !isRecord(groups)) throw fail('a table is missing');
  const numbers = new Map<string, number>();
  for (const [name, value] of Object.entries(syscalls)) {
    if (typeof value !== 'number' || value >>> 0 !== value) throw fail(`the number of ${name} is none`);
    numbers.set(name, value);
  }
  const values = new Map<string, bigint>();
  for (const [name, value] of Object.entries(constants)) {
    if (typeof value !== 'bigint' && !Number.isSafeInteger(value))
      throw fail(`the value of ${name} is no whole number`);
    values.set(name, BigInt(value as number | bigint));
  }
  const namespaces = new Map<string, Map<string, readonly string[]>>();
  for (const [namespace, inside] of Object.entries(groups)) {
    if (!isRecord(inside)) throw fail(`the groups of ${namespace} are no object`);
    const members = new Map<string, readonly string[]>();
    for (const [group, names] of Object.entries(inside)) {
      if (!Array.isArray(names) || !names.every((name) => typeof name === 'string' && numbers.has(name))) {
        throw fail(`the group ${group}@${namespace} has what is no system call`);
      }
      members.set(group, names as string[]);
    }
    namespaces.set(namespace, members);
  }
  return { architecture, auditArch, bits, syscalls: numbers, constants: values, groups: namespaces };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
