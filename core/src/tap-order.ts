// The order of the taps of a hook.

export interface Orderable {
  readonly owner: string;
  /** Lower runs earlier. */
  readonly stage: number;
  /** Position of the owner among the plugins; kept over reloads, so that a reload changes no order. */
  readonly rank: number;
  /** Registration order. */
  readonly sequence: number;
  /** Plugins whose taps come after this one. */
  readonly before: readonly string[];
  /** Plugins whose taps come before this one. */
  readonly after: readonly string[];
}

/**
 * `before` and `after` hold always; among what they leave open, stage, then rank, then sequence decide.
 * Names of plugins that have no tap here are of no effect.
 * @returns the order, or the owners that form a circle
 */
export function orderTaps<T extends Orderable>(
  taps: readonly T[],
): { readonly order: readonly T[]; readonly cycle?: undefined } | { readonly cycle: readonly string[] } {
  const byPreference = [...taps].sort((a, b) => a.stage - b.stage || a.rank - b.rank || a.sequence - b.sequence);
  if (taps.every((tap) => tap.before.length === 0 && tap.after.length === 0)) return { order: byPreference };
  const predecessors = findPredecessors(byPreference);
  const order: T[] = [];
  const placed = new Set<T>();
  while (order.length < byPreference.length) {
    const next = byPreference.find((tap) => !placed.has(tap) && allPlaced(predecessors.get(tap), placed));
    if (next === undefined) return { cycle: findCycle(byPreference, predecessors, placed) };
    placed.add(next);
    order.push(next);
  }
  return { order };
}

function findPredecessors<T extends Orderable>(taps: readonly T[]): Map<T, Set<T>> {
  const predecessors = new Map<T, Set<T>>(taps.map((tap) => [tap, new Set<T>()]));
  for (const tap of taps) {
    for (const other of taps) {
      // A plugin's own taps keep their order among themselves.
      if (other.owner === tap.owner) continue;
      if (tap.before.includes(other.owner)) predecessors.get(other)?.add(tap);
      if (tap.after.includes(other.owner)) predecessors.get(tap)?.add(other);
    }
  }
  return predecessors;
}

function allPlaced<T>(wanted: ReadonlySet<T> | undefined, placed: ReadonlySet<T>): boolean {
  return wanted === undefined || wanted.isSubsetOf(placed);
}

/** Every tap that could not be placed waits for another such tap, so following them must come back to one. */
function findCycle<T extends Orderable>(
  taps: readonly T[],
  predecessors: ReadonlyMap<T, ReadonlySet<T>>,
  placed: ReadonlySet<T>,
): readonly string[] {
  const path: T[] = [];
  let current = taps.find((tap) => !placed.has(tap));
  while (current !== undefined && !path.includes(current)) {
    path.push(current);
    current = [...(predecessors.get(current) ?? [])].find((tap) => !placed.has(tap));
  }
  const loop = current === undefined ? path : path.slice(path.indexOf(current));
  return [...loop, ...loop.slice(0, 1)].map((tap) => tap.owner).reverse();
}
