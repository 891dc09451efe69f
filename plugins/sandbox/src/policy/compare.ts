// What two policies decide differently: exactly, with an example for each system call.

import { type Action, actionOf, returnValue, sameAction } from './actions.ts';
import { Diagrams } from './diagram.ts';
import { type Decision, evaluate, refusesX32 } from './evaluate.ts';
import type { Policy } from './policy.ts';
import { X32_BIT } from './tables.ts';

export interface Difference {
  /** `undefined`: all system calls that neither names. */
  readonly number: number | undefined;
  readonly args: readonly bigint[];
  readonly left: Decision;
  readonly right: Decision;
  /** All that each can decide of this system call. */
  readonly leftActions: readonly Action[];
  readonly rightActions: readonly Action[];
}

/** Both must be of one architecture. @throws SANDBOX_ERR_POLICY_TOO_COMPLEX */
export function comparePolicies(left: Policy, right: Policy): readonly Difference[] {
  const differences: Difference[] = [];
  const numbers = [...new Set([...left.rules.keys(), ...right.rules.keys()])].sort((a, b) => a - b);
  for (const number of numbers) {
    const diagrams = new Diagrams(left.file);
    const [ofLeft, ofRight] = [diagramOf(diagrams, left, number), diagramOf(diagrams, right, number)];
    const args = diagrams.difference(ofLeft, ofRight);
    if (args === undefined) continue;
    const call = { auditArch: left.tables.auditArch, number, args };
    const actions = (diagram: typeof ofLeft) =>
      Array.from(diagrams.endings(diagram), (value) => actionOf(value)).filter((action) => action !== undefined);
    differences.push({
      ...{ number, args, left: evaluate(left, call), right: evaluate(right, call) },
      ...{ leftActions: actions(ofLeft), rightActions: actions(ofRight) },
    });
  }
  const unnamed = Array.from({ length: numbers.length + 1 }, (_, number) => number).find(
    (number) => !left.rules.has(number) && !right.rules.has(number),
  ) as number;
  const probes = [{ number: unnamed }, ...(refusesX32(left) || refusesX32(right) ? [{ number: X32_BIT }] : [])];
  for (const { number } of probes) {
    const call = { auditArch: left.tables.auditArch, number, args: [] };
    const [a, b] = [evaluate(left, call), evaluate(right, call)];
    if (sameAction(a.action, b.action)) continue;
    const shown = number === X32_BIT ? number : undefined;
    differences.push({
      ...{ number: shown, args: [], left: a, right: b, leftActions: [a.action], rightActions: [b.action] },
    });
  }
  return differences;
}

function diagramOf(diagrams: Diagrams, { rules, tables, defaultAction }: Policy, number: number) {
  const filters = rules.get(number)?.filters ?? [];
  return diagrams.filters(filters, tables.bits, ({ action }) => returnValue(action), returnValue(defaultAction));
}
