// When a child that ended is started again, and when it is given up. Pure, so that it can be tested as a table.

import type { RestartPolicy } from './types.ts';

/** Milliseconds, and a count. */
export const RESTART_DEFAULTS = { backoffMs: 100, maxMs: 30_000, crashLimit: 5, windowMs: 60_000 } as const;

export type RestartDecision =
  | { readonly what: 'stay-down' }
  | { readonly what: 'crash-loop'; readonly count: number; readonly windowMs: number }
  | { readonly what: 'restart'; readonly delayMs: number };

/**
 * @param failed it ended with another code than 0, by a signal, or before it was ready
 * @param ends times (ms, same origin as `now`) at which it ended without being asked to, this one included
 * @param random from [0, 1): the delay is between half and all of what the doubling gives, so that children that died
 *   together do not come back together
 */
export function decideRestart(
  policy: RestartPolicy | undefined,
  failed: boolean,
  ends: readonly number[],
  now: number,
  random: () => number,
): RestartDecision {
  const { when, backoffMs, maxMs, crashLimit, windowMs } = { when: 'never', ...RESTART_DEFAULTS, ...policy } as const;
  if (when === 'never' || (when === 'on-failure' && !failed)) return { what: 'stay-down' };
  const count = ends.filter((at) => now - at <= windowMs).length;
  if (count >= crashLimit) return { what: 'crash-loop', count, windowMs };
  // 2^52 ms is longer than any maxMs, and still exact.
  const full = Math.min(maxMs, backoffMs * 2 ** Math.min(count - 1, 52));
  return { what: 'restart', delayMs: full * (0.5 + random() / 2) };
}
