// A policy from its files.

import type { Action, ActionKind } from './actions.ts';
import { parseC } from './c-parser.ts';
import type { Dialect, Policy } from './policy.ts';
import { parsePython } from './python-parser.ts';
import type { PathMapping } from './source.ts';
import type { Tables } from './tables.ts';

export interface ParseOptions {
  readonly dialect: Dialect;
  readonly tables: Tables;
  /**
   * What `kill` means, and what becomes of calls that no line is about; default: kill-thread, as for minijail. With
   * `log`, lines of the dialect of C about unknown system calls are left out, and in Python's a `return` logs as well.
   */
  readonly kill?: Extract<ActionKind, 'kill-thread' | 'kill-process' | 'trap' | 'log'>;
  /** Instead of what @default says; only in Python's dialect. */
  readonly defaultAction?: Action;
  /** The policy lists what is refused; only in Python's dialect. */
  readonly denylist?: boolean;
  /** What `./` begins at in the dialect of C; default: the working directory. */
  readonly cwd?: string;
  readonly map?: readonly PathMapping[];
  /** Of the dialect of C: a system call may have several lines; they are then tried in order. */
  readonly duplicates?: boolean;
}

/** @throws SANDBOX_ERR_POLICY, SANDBOX_ERR_POLICY_FILE */
export function parsePolicy(file: string, options: ParseOptions): Policy {
  return options.dialect === 'c' ? parseC(file, options) : parsePython(file, options);
}
