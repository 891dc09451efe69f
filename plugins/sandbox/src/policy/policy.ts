// What a policy says, whichever dialect it was written in.

import type { Action } from './actions.ts';
import type { Tables } from './tables.ts';

export interface Position {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
}

export type Operator = '==' | '!=' | '<' | '<=' | '>' | '>=' | '&' | 'in';

/** A comparison, unsigned: `&` is true if any bit of the value is set, `in` if no other bit is. */
export interface Atom {
  /** 0 to 5. */
  readonly argument: number;
  readonly operator: Operator;
  /** Of as many bits as the architecture has. */
  readonly value: bigint;
}

/** Atoms that must all be true. */
export type Clause = readonly Atom[];

/** One step of deciding: the first whose condition is true decides. */
export interface Filter {
  /** Clauses of which one must be true. `undefined`: always. */
  readonly condition: readonly Clause[] | undefined;
  readonly action: Action;
  readonly at: Position;
}

export interface Rule {
  readonly name: string;
  readonly number: number;
  /** How often it is called, compared with others. */
  readonly frequency: number;
  /** In order. Where none is true the default of the policy decides. */
  readonly filters: readonly Filter[];
}

export type Dialect = 'c' | 'python';

export interface Policy {
  readonly file: string;
  readonly dialect: Dialect;
  readonly tables: Tables;
  /** By number of system call. */
  readonly rules: ReadonlyMap<number, Rule>;
  readonly defaultAction: Action;
  /** Where @default is; nothing if it is not the policy that says it. */
  readonly defaultAt: Position | undefined;
  /** Of calls of another architecture. */
  readonly foreignAction: Action;
  readonly warnings: readonly Warning[];
}

export interface Warning {
  readonly at: Position;
  readonly text: string;
}

export const ARGUMENTS = 6;
