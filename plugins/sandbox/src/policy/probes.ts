// Calls that are likely to tell two programs apart: arguments at and around every constant of a policy.

import { ARGUMENTS, type Policy } from './policy.ts';

export interface Halves {
  readonly low: number;
  readonly high: number;
}

const ALL = 0xffff_ffff_ffff_ffffn;

/** For each system call that has conditions, candidates for each argument; none for those that no condition is about. */
export function argumentsNear({ rules }: Policy): ReadonlyMap<number, readonly (readonly Halves[])[]> {
  const near = new Map<number, readonly (readonly Halves[])[]>();
  for (const { number, filters } of rules.values()) {
    const values = Array.from({ length: ARGUMENTS }, () => new Set<bigint>());
    for (const { argument, value } of filters.flatMap(({ condition = [] }) => condition.flat())) {
      for (const candidate of around(value)) values[argument]?.add(candidate & ALL);
    }
    if (values.every((set) => set.size === 0)) continue;
    near.set(
      number,
      values.map((set) => Array.from(set, halves)),
    );
  }
  return near;
}

function* around(value: bigint): Generator<bigint> {
  const [low, high] = [value & 0xffff_ffffn, value >> 32n];
  yield* [0n, 1n, ALL, value, value - 1n, value + 1n, ~value, low, high << 32n];
  // The same lower half under other upper ones, as where a program forgets to look at one.
  yield* [low | (1n << 32n), low | (0xffff_ffffn << 32n), low + (high + 1n) * 2n ** 32n, low + (high - 1n) * 2n ** 32n];
  for (let bit = 0n; bit < 64n; bit++) if (((value >> bit) & 1n) === 1n) yield* [1n << bit, value ^ (1n << bit)];
  for (const bit of [0n, 1n, 2n, 12n, 31n, 32n, 63n]) yield value | (1n << bit);
}

const halves = (value: bigint): Halves => ({ low: Number(value & 0xffff_ffffn), high: Number(value >> 32n) });

/** Whole numbers from 0 up to a bound, the same for the same seed (xorshift32). */
export function randomNumbers(seed: number): (bound: number) => number {
  let state = seed >>> 0 || 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return Math.floor(((state >>> 0) / 2 ** 32) * bound);
  };
}
