// The comparisons of a condition in an order that says the same and is shorter to work out: those of one argument together.

import type { Atom, Clause } from './policy.ts';

export function ordered(condition: readonly Clause[]): readonly Clause[] {
  const clauses = condition.map((clause) => clause.toSorted(byArgument));
  return clauses.sort((a, b) => {
    for (const [index, atom] of a.entries()) {
      const other = b[index];
      if (other === undefined) return 1;
      const order = byArgument(atom, other);
      if (order !== 0) return order;
    }
    return a.length - b.length;
  });
}

/** Equal ones stay in the order in which they were written, which may be that of use. */
function byArgument(a: Atom, b: Atom): number {
  return a.argument - b.argument || Number((a.value >> 32n) - (b.value >> 32n));
}
