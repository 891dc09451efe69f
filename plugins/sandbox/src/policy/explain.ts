// Which line decides about a system call: each that ever does, with arguments for which it does.

import type { Action } from './actions.ts';
import { Diagrams } from './diagram.ts';
import { type Decision, evaluate } from './evaluate.ts';
import type { Filter, Policy, Position } from './policy.ts';

export interface Explained {
  readonly action: Action;
  readonly at: Position | undefined;
  readonly why: string;
  /** Arguments that it decides. */
  readonly example: readonly bigint[];
}

/** In the order in which they are tried; lines that never decide are left out. @throws SANDBOX_ERR_POLICY_TOO_COMPLEX */
export function explainAll(policy: Policy, number: number): readonly Explained[] {
  const filters = policy.rules.get(number)?.filters ?? [];
  const diagrams = new Diagrams(policy.file);
  // Each ends in which filter decides, and not in what that does.
  const indexes = new Map<Filter, number>(filters.map((filter, index) => [filter, index + 2]));
  const last = filters.length + 2;
  const diagram = diagrams.filters(filters, policy.tables.bits, (filter) => indexes.get(filter) as number, last);
  const ends = [...diagrams.endings(diagram)].sort((a, b) => a - b);
  return ends.map((end) => {
    const example = diagrams.exampleOf(diagram, end);
    const decision: Decision = evaluate(policy, { auditArch: policy.tables.auditArch, number, args: example });
    return { action: decision.action, at: decision.at, why: decision.why, example };
  });
}
