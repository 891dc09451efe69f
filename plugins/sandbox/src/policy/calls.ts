// System calls and actions as people write them: `ioctl 3 TCGETS`, `ioctl arg1=TCGETS`, `errno ENOENT`.

import { errors } from '../errors.ts';
import { ACTION_KINDS, type Action, type ActionKind } from './actions.ts';
import { fit, parseNumber } from './numbers.ts';
import { ARGUMENTS } from './policy.ts';
import { suggest } from './suggest.ts';
import type { Tables } from './tables.ts';

export interface AskedCall {
  readonly name: string;
  readonly number: number;
  /** Of those that were given, by index. */
  readonly args: ReadonlyMap<number, bigint>;
}

/** @param words its name or number, then its arguments in order, or as `argN=value`, or both. @throws SANDBOX_ERR_CALL */
export function parseCall(words: readonly string[], tables: Tables): AskedCall {
  const fail = (why: string, suggestion = '') =>
    errors.SANDBOX_ERR_CALL({ details: { call: words.join(' '), why, suggestion } });
  const [name = '', ...rest] = words;
  const number = tables.syscalls.get(name) ?? numberOf(name);
  if (number === undefined) {
    throw fail(`${tables.architecture} has no system call "${name}"`, suggest(name, tables.syscalls.keys()));
  }
  const args = new Map<number, bigint>();
  for (const [position, word] of rest.entries()) {
    const [, index, value = word] = /^arg([0-9]+)=(.*)$/.exec(word) ?? [];
    const at = index === undefined ? position : Number(index);
    if (at >= ARGUMENTS) throw fail(`it has ${ARGUMENTS} arguments, arg0 to arg${ARGUMENTS - 1}`);
    if (args.has(at)) throw fail(`arg${at} is given twice`);
    args.set(at, constantOf(value, tables, fail));
  }
  return { name: nameOfSyscall(number, tables), number, args };
}

/** Constants joined by |, each perhaps with ~. */
function constantOf(
  text: string,
  { constants, bits }: Tables,
  fail: (why: string, suggestion?: string) => Error,
): bigint {
  let value = 0n;
  for (const part of text.split('|')) {
    const word = part.replace(/^~/, '');
    const named = constants.get(word);
    const number = named === undefined ? parseNumber(word, bits, true) : fit(named, bits);
    if (number === 'not a number') throw fail(`there is no constant "${word}"`, suggest(word, constants.keys()));
    if (typeof number === 'string') throw fail(`"${word}" is ${number} for ${bits} bits`);
    value |= word === part ? number : BigInt.asUintN(bits, ~number);
  }
  return value;
}

function numberOf(text: string): number | undefined {
  const value = parseNumber(text, 32, true);
  return typeof value === 'bigint' && !text.startsWith('-') ? Number(value) : undefined;
}

const namesOf = new WeakMap<Tables, ReadonlyMap<number, string>>();

/** `#1000` for one without a name. */
export function nameOfSyscall(number: number, tables: Tables): string {
  const names = namesOf.get(tables) ?? new Map(Array.from(tables.syscalls, ([name, value]) => [value, name]));
  namesOf.set(tables, names);
  return names.get(number) ?? `#${number}`;
}

/** Names of errors, since some have two: the first that is no other name. */
const SECOND_NAMES = new Set(['EWOULDBLOCK', 'EDEADLOCK', 'ENOTSUP']);

export function describeAction(action: Action, { constants }: Tables): string {
  if (action.kind !== 'errno') return action.kind;
  for (const name of constants.keys()) {
    if (!/^E[A-Z0-9]+$/.test(name) || SECOND_NAMES.has(name)) continue;
    if (constants.get(name) === BigInt(action.errno)) return `errno ${name}`;
  }
  return `errno ${action.errno}`;
}

/** `allow`, `errno ENOENT`, `errno 2`, `kill`. `undefined`: none. */
export function parseAction(text: string, { constants, bits }: Tables): Action | undefined {
  const [kind = '', value, ...more] = text.trim().split(/[ =]+/);
  if (more.length > 0) return undefined;
  if (kind === 'errno' || kind === 'return') {
    const number = value === undefined ? undefined : (constants.get(value) ?? parseNumber(value, bits, true));
    return typeof number === 'bigint' && number <= 0xffffn ? { kind: 'errno', errno: Number(number) } : undefined;
  }
  if (value !== undefined) return undefined;
  if (kind === 'kill') return { kind: 'kill-thread' };
  const known = ACTION_KINDS.find((candidate): candidate is Exclude<ActionKind, 'errno'> => candidate === kind);
  return known === undefined ? undefined : { kind: known };
}
