// The order of taps by its definition: of all orders in which every constraint holds, the one whose first tap is most
// preferred, then its second, and so on. Tries them all, so it is for few taps only.

import type { Orderable } from '../tap-order.ts';

function isAllowed(order: readonly Orderable[]): boolean {
  return order.every((earlier, i) =>
    order.slice(i + 1).every((later) => {
      if (later.owner === earlier.owner) return true;
      return !later.before.includes(earlier.owner) && !earlier.after.includes(later.owner);
    }),
  );
}

function* permutations<T>(items: readonly T[]): Generator<readonly T[]> {
  if (items.length === 0) yield [];
  for (const [i, item] of items.entries()) {
    for (const rest of permutations(items.toSpliced(i, 1))) yield [item, ...rest];
  }
}

/** `undefined` when no order will do. */
export function firstAllowedOrder<T extends Orderable>(taps: readonly T[]): readonly T[] | undefined {
  const byPreference = taps.toSorted((a, b) => a.stage - b.stage || a.rank - b.rank || a.sequence - b.sequence);
  // Permutations come in the order of preference.
  return permutations(byPreference).find(isAllowed);
}
