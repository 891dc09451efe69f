// What is decided for each of the 2^384 arguments of a system call, exactly: a decision diagram over their bits, ordered, with
// what is returned at its ends. Two that decide the same are the same diagram, whatever they were made from.

import { errors } from '../errors.ts';
import { ordered } from './order.ts';
import { ARGUMENTS, type Atom, type Filter } from './policy.ts';

export interface Ending {
  readonly id: number;
  readonly value: number;
}
export interface Branch {
  readonly id: number;
  /** Argument · 64 + how far the bit is from the highest. */
  readonly bit: number;
  readonly set: Diagram;
  readonly clear: Diagram;
}
export type Diagram = Ending | Branch;

const BITS = 64;
const LAST = ARGUMENTS * BITS;
const MAX_NODES = 500_000;

const isEnding = (diagram: Diagram): diagram is Ending => 'value' in diagram;
const bitOf = (diagram: Diagram): number => (isEnding(diagram) ? LAST : diagram.bit);

export class Diagrams {
  readonly #endings = new Map<number, Ending>();
  readonly #branches = new Map<string, Branch>();
  readonly #choices = new Map<string, Diagram>();
  readonly #file: string;
  #next = 0;

  /** @param file what to name when it cannot be worked out */
  constructor(file: string) {
    this.#file = file;
  }

  ending(value: number): Ending {
    let ending = this.#endings.get(value);
    if (ending === undefined) {
      ending = { id: this.#next++, value };
      this.#endings.set(value, ending);
    }
    return ending;
  }

  branch(bit: number, set: Diagram, clear: Diagram): Diagram {
    if (set === clear) return set;
    const key = `${bit},${set.id},${clear.id}`;
    let branch = this.#branches.get(key);
    if (branch === undefined) {
      if (this.#next > MAX_NODES) {
        const details = { file: this.#file, why: `its diagram has over ${MAX_NODES} nodes` };
        throw errors.SANDBOX_ERR_POLICY_TOO_COMPLEX({ details });
      }
      branch = { id: this.#next++, bit, set, clear };
      this.#branches.set(key, branch);
    }
    return branch;
  }

  /** `yes` where `condition` ends in 1, and else `no`. */
  choose(condition: Diagram, yes: Diagram, no: Diagram): Diagram {
    if (yes === no) return yes;
    if (isEnding(condition)) return condition.value === 1 ? yes : no;
    const key = `${condition.id},${yes.id},${no.id}`;
    const known = this.#choices.get(key);
    if (known !== undefined) return known;
    const bit = Math.min(condition.bit, bitOf(yes), bitOf(no));
    const half = (diagram: Diagram, side: 'set' | 'clear') =>
      isEnding(diagram) || diagram.bit !== bit ? diagram : diagram[side];
    const result = this.branch(
      bit,
      this.choose(half(condition, 'set'), half(yes, 'set'), half(no, 'set')),
      this.choose(half(condition, 'clear'), half(yes, 'clear'), half(no, 'clear')),
    );
    this.#choices.set(key, result);
    return result;
  }

  /** Ends in 1 where it is true, and else in 0. */
  atom({ argument, operator, value }: Atom, bits: 32 | 64): Diagram {
    const [yes, no] = [this.ending(1), this.ending(0)];
    const isOpposite = operator === '!=' || operator === '<' || operator === '<=' || operator === 'in';
    const [isTrue, isFalse] = isOpposite ? [no, yes] : [yes, no];
    const compared = operator === 'in' ? BigInt.asUintN(bits, ~value) : value;
    // At the lowest bit, where all others were the same.
    let diagram: Diagram =
      operator === '>=' || operator === '<' || operator === '==' || operator === '!=' ? isTrue : isFalse;
    for (let index = 0; index < bits; index++) {
      const bit = argument * BITS + (BITS - 1 - index);
      const isSet = ((compared >> BigInt(index)) & 1n) === 1n;
      if (operator === '&' || operator === 'in') {
        if (isSet) diagram = this.branch(bit, isTrue, diagram);
      } else if (operator === '==' || operator === '!=') {
        diagram = isSet ? this.branch(bit, diagram, isFalse) : this.branch(bit, isFalse, diagram);
      } else {
        diagram = isSet ? this.branch(bit, diagram, isFalse) : this.branch(bit, isTrue, diagram);
      }
    }
    return diagram;
  }

  /** What the filters decide, and `otherwise` where none does. */
  filters(filters: readonly Filter[], bits: 32 | 64, resultOf: (filter: Filter) => number, otherwise: number): Diagram {
    let result: Diagram = this.ending(otherwise);
    const no = this.ending(0);
    for (const filter of filters.toReversed()) {
      const decided = this.ending(resultOf(filter));
      if (filter.condition === undefined) {
        result = decided;
        continue;
      }
      // Clause by clause, so that no diagram of the whole condition is needed.
      for (const clause of ordered(filter.condition).toReversed()) {
        const all = clause.reduceRight<Diagram>(
          (so, atom) => this.choose(this.atom(atom, bits), so, no),
          this.ending(1),
        );
        result = this.choose(all, decided, result);
      }
    }
    return result;
  }

  /** All that it can end in. */
  endings(diagram: Diagram): ReadonlySet<number> {
    const found = new Set<number>();
    const seen = new Set<Diagram>();
    const stack = [diagram];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (seen.has(next)) continue;
      seen.add(next);
      if (isEnding(next)) found.add(next.value);
      else stack.push(next.set, next.clear);
    }
    return found;
  }

  /** Arguments for which it ends in `value`, which it must. */
  exampleOf(diagram: Diagram, value: number): readonly bigint[] {
    const args = Array.from({ length: ARGUMENTS }, () => 0n);
    for (let next = diagram; !isEnding(next); ) {
      if (this.endings(next.clear).has(value)) {
        next = next.clear;
        continue;
      }
      setBit(args, next.bit);
      next = next.set;
    }
    return args;
  }

  /** Arguments for which the two end differently, with as few bits set as come first; `undefined` where they never do. */
  difference(a: Diagram, b: Diagram): readonly bigint[] | undefined {
    const args = Array.from({ length: ARGUMENTS }, () => 0n);
    let [left, right] = [a, b];
    if (left === right) return undefined;
    // Those that differ here differ on at least one side below.
    while (!isEnding(left) || !isEnding(right)) {
      const bit = Math.min(bitOf(left), bitOf(right));
      const half = (diagram: Diagram, side: 'set' | 'clear') =>
        isEnding(diagram) || diagram.bit !== bit ? diagram : diagram[side];
      const [leftClear, rightClear] = [half(left, 'clear'), half(right, 'clear')];
      if (leftClear !== rightClear) {
        [left, right] = [leftClear, rightClear];
        continue;
      }
      setBit(args, bit);
      [left, right] = [half(left, 'set'), half(right, 'set')];
    }
    return args;
  }
}

function setBit(args: bigint[], bit: number): void {
  const argument = Math.floor(bit / BITS);
  args[argument] = (args[argument] as bigint) | (1n << BigInt(BITS - 1 - (bit % BITS)));
}
