// The states of a VM, and how it gets from one into another.

import type { TerminaState } from '../contract.ts';

/** Any other move is a mistake of ours. */
export const TERMINA_TRANSITIONS: Readonly<Record<TerminaState, readonly TerminaState[]>> = {
  starting: ['running', 'failure'],
  running: ['stopping', 'stopped'],
  stopping: ['stopped'],
  stopped: [],
  failure: [],
};

export function mayMove(from: TerminaState, to: TerminaState): boolean {
  return TERMINA_TRANSITIONS[from].includes(to);
}
