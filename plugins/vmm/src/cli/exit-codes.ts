// Exit codes of `runtime vm run`, those of crosvm (its main.rs).

import type { ExitReason } from '../contract.ts';

export const EXIT_CODES: Readonly<Record<ExitReason, number>> = {
  'guest-shutdown': 0,
  stopped: 0,
  'guest-reset': 32,
  crashed: 33,
  'guest-panic': 34,
};

export const EXIT_INVALID = 35;
/** The guest's check of itself found something that does not work. */
export const EXIT_CHECK_FAILED = 1;
