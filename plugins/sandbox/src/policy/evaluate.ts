// What a policy decides, read straight from its lines: what every compiled program is measured against.

import type { Action } from './actions.ts';
import type { Atom, Filter, Policy, Position } from './policy.ts';
import { X32_BIT } from './tables.ts';

export interface Call {
  /** AUDIT_ARCH_*. */
  readonly auditArch: number;
  readonly number: number;
  /** Six, unsigned, of 64 bits. */
  readonly args: readonly bigint[];
}

export interface Decision {
  readonly action: Action;
  /** The line that decides; nothing where it is none. */
  readonly at: Position | undefined;
  readonly why: string;
}

export function isTrue({ argument, operator, value }: Atom, args: readonly bigint[], bits: 32 | 64): boolean {
  const given = BigInt.asUintN(bits, args[argument] ?? 0n);
  switch (operator) {
    case '==':
      return given === value;
    case '!=':
      return given !== value;
    case '<':
      return given < value;
    case '<=':
      return given <= value;
    case '>':
      return given > value;
    case '>=':
      return given >= value;
    case '&':
      return (given & value) !== 0n;
    case 'in':
      return (given & BigInt.asUintN(64, ~value) & (bits === 32 ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn)) === 0n;
  }
}

export function holds({ condition }: Filter, args: readonly bigint[], bits: 32 | 64): boolean {
  return condition === undefined || condition.some((clause) => clause.every((atom) => isTrue(atom, args, bits)));
}

/**
 * Whether calls of the x32 ABI must be refused by their number: no list of names of x86_64 can mean them, and a policy
 * that allows what it does not list would allow them all.
 */
export function refusesX32({ tables, defaultAction }: Policy): boolean {
  return tables.architecture === 'x86_64' && defaultAction.kind === 'allow';
}

export function evaluate(policy: Policy, { auditArch, number, args }: Call): Decision {
  const { tables, rules, defaultAction, defaultAt, foreignAction } = policy;
  if (auditArch !== tables.auditArch) {
    return { action: foreignAction, at: undefined, why: `it is no call of ${tables.architecture}` };
  }
  if (number >= X32_BIT && refusesX32(policy)) {
    return { action: foreignAction, at: undefined, why: 'it is a call of the x32 ABI' };
  }
  const rule = rules.get(number);
  if (rule === undefined) return { action: defaultAction, at: defaultAt, why: 'no line is about it' };
  for (const filter of rule.filters) {
    if (!holds(filter, args, tables.bits)) continue;
    const why = filter.condition === undefined ? 'for any other arguments' : 'its condition is true';
    return {
      action: filter.action,
      at: filter.at,
      why: rule.filters.length === 1 && filter.condition === undefined ? 'for any arguments' : why,
    };
  }
  return { action: defaultAction, at: defaultAt, why: 'none of the conditions of its lines is true' };
}
