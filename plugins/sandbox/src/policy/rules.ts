// The lines of a policy as they are gathered: which filters each system call has, in order.

import { type Action, sameAction } from './actions.ts';
import type { Filter, Position, Rule, Warning } from './policy.ts';
import { LIMITS, policyError } from './source.ts';

export class RuleTable {
  readonly #rules = new Map<number, { readonly name: string; readonly filters: Filter[]; atoms: number }>();

  firstLine(number: number): Position | undefined {
    return this.#rules.get(number)?.filters[0]?.at;
  }

  /** @throws SANDBOX_ERR_POLICY when an earlier filter of it is unconditional */
  add(name: string, number: number, filters: readonly Filter[]): void {
    const known = this.#rules.get(number) ?? { name, filters: [], atoms: 0 };
    this.#rules.set(number, known);
    for (const filter of filters) {
      const last = known.filters.at(-1);
      if (last !== undefined && last.condition === undefined) {
        throw policyError(filter.at, `${name} is decided already, for any arguments, ${whereIs(last.at, filter.at)}`);
      }
      known.filters.push(filter);
      for (const clause of filter.condition ?? []) known.atoms += clause.length;
      if (known.atoms > LIMITS.atomsOfSyscall) {
        throw policyError(filter.at, `${name} may have ${LIMITS.atomsOfSyscall} comparisons`);
      }
    }
  }

  finish(frequencies: ReadonlyMap<number, number>): ReadonlyMap<number, Rule> {
    const entries = [...this.#rules].sort(([a], [b]) => a - b);
    return new Map(
      entries.map(([number, { name, filters }]) => [
        number,
        { name, number, filters, frequency: frequencies.get(number) ?? 1 },
      ]),
    );
  }
}

export function whereIs(at: Position, from: Position): string {
  return at.file === from.file ? `in line ${at.line}` : `in ${at.file}, line ${at.line}`;
}

/**
 * minijail's compiler of Python forgets what comes before an unconditional `allow`, so that `{ arg0 == 1; return EPERM,
 * allow }` refuses nothing there. Here it does.
 */
export function warnOfLostFilters(rules: Iterable<Rule>, defaultAction: Action): readonly Warning[] {
  const warnings: Warning[] = [];
  for (const { name, filters } of rules) {
    const last = filters.at(-1);
    const end = last?.condition === undefined ? last?.action : defaultAction;
    const lost = filters.find(({ condition, action }) => condition !== undefined && action.kind !== 'allow');
    if (lost === undefined || end === undefined || !sameAction(end, { kind: 'allow' })) continue;
    const text = `minijail's compiler ignores this condition of ${name}, since all else is allowed; here it holds`;
    warnings.push({ at: lost.at, text });
  }
  return warnings;
}
