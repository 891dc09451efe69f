// A process locks itself down, as the environment that it was started with says. Whoever jails it sets the variable; a
// process without it stays as it is.

import { errors } from '../errors.ts';
import { type LandlockRule, landlockVersion, restrictSelf } from './landlock.ts';
import { setNoNewPrivileges } from './prctl.ts';
import { installSystemCallFilter } from './seccomp.ts';

export const LOCKDOWN_VARIABLE = 'RUNTIME_LOCKDOWN';

export interface Lockdown {
  /** What may still be opened, for reading; left out: landlock is not used. */
  readonly landlock?: { readonly rules: readonly LandlockRule[]; readonly required: boolean };
  /** A filter of system calls: struct sock_filter, in base64. */
  readonly filter?: string;
}

let pending: Lockdown | undefined;

/**
 * As early as possible, before a thread of the pool exists: from here on only the files that are named can be opened. The
 * variable goes from the environment.
 * @throws SDK_ERR_ARGUMENT for what is no lockdown, SDK_ERR_PLATFORM where landlock is required and missing, LinuxError
 */
export function beginLockdown(): void {
  const text = process.env[LOCKDOWN_VARIABLE];
  if (text === undefined) return;
  delete process.env[LOCKDOWN_VARIABLE];
  pending = parse(text);
  const { landlock } = pending;
  if (landlock === undefined || (!landlock.required && landlockVersion() === 0)) return;
  restrictSelf({ rules: landlock.rules, noTcp: true, scoped: true });
}

/**
 * When all is there, before the first word of somebody who is not trusted: every thread makes only the system calls of the
 * filter from now on. @throws SDK_ERR_ARGUMENT, LinuxError
 */
export function finishLockdown(): void {
  const filter = pending?.filter;
  pending = undefined;
  if (filter === undefined) return;
  setNoNewPrivileges();
  installSystemCallFilter(Buffer.from(filter, 'base64'));
}

/** By hand: a schema library costs more memory than the rest of an idle process. */
function parse(text: string): Lockdown {
  const refuse = (why: string) =>
    errors.SDK_ERR_ARGUMENT({ details: { what: LOCKDOWN_VARIABLE, value: `${text.length} characters`, why } });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuse('it must be JSON');
  }
  const { landlock, filter } = (value ?? {}) as {
    landlock?: { rules?: unknown; required?: unknown };
    filter?: unknown;
  };
  if (filter !== undefined && typeof filter !== 'string') throw refuse('the filter must be base64');
  if (landlock === undefined) return filter === undefined ? {} : { filter };
  const { rules } = landlock;
  if (!Array.isArray(rules) || !rules.every(isRule)) throw refuse('a rule needs a path and an access');
  const checked = { rules, required: landlock.required === true };
  return filter === undefined ? { landlock: checked } : { landlock: checked, filter };
}

function isRule(value: unknown): value is LandlockRule {
  const { path, access } = (value ?? {}) as { path?: unknown; access?: unknown };
  return typeof path === 'string' && path.startsWith('/') && ['ro', 'rx', 'rw', 'advanced-rw'].includes(String(access));
}
