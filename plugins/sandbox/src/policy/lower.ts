// Conditions on arguments of 64 bits as tests of their halves.

import { highWord, JEQ, JGE, JGT, JSET, lowWord } from './bpf.ts';
import type { Graph, Node } from './graph.ts';
import { ordered } from './order.ts';
import type { Atom, Filter } from './policy.ts';

type Comparison = typeof JEQ | typeof JGE | typeof JGT | typeof JSET;

/** Each operator as one of the four tests, and whether it is the other way round. */
const TESTS: Readonly<Record<Atom['operator'], readonly [Comparison, boolean]>> = {
  '==': [JEQ, false],
  '!=': [JEQ, true],
  '>': [JGT, false],
  '<=': [JGT, true],
  '>=': [JGE, false],
  '<': [JGE, true],
  '&': [JSET, false],
  in: [JSET, true],
};

export function lowerFilters(
  graph: Graph,
  filters: readonly Filter[],
  bits: 32 | 64,
  resultOf: (filter: Filter) => number,
  otherwise: number,
): Node {
  let node: Node = graph.leaf(otherwise);
  for (const filter of filters.toReversed()) {
    const decided = graph.leaf(resultOf(filter));
    if (filter.condition === undefined) {
      node = decided;
      continue;
    }
    for (const clause of ordered(filter.condition).toReversed()) {
      let next: Node = decided;
      const failed: Node = node;
      for (const atom of clause.toReversed()) next = lowerAtom(graph, atom, bits, next, failed);
      node = next;
    }
  }
  return node;
}

function lowerAtom(
  graph: Graph,
  { argument, operator, value }: Atom,
  bits: 32 | 64,
  isTrue: Node,
  isFalse: Node,
): Node {
  const [code, isOpposite] = TESTS[operator];
  const [yes, no] = isOpposite ? [isFalse, isTrue] : [isTrue, isFalse];
  const compared = operator === 'in' ? BigInt.asUintN(bits, ~value) : value;
  const low = Number(compared & 0xffff_ffffn);
  const high = Number(compared >> 32n);
  const lower = (ifTrue: Node, ifFalse: Node) => graph.test(lowWord(argument), code, low, ifTrue, ifFalse);
  if (bits === 32) return lower(yes, no);
  const upper = (test: Comparison, k: number, ifTrue: Node, ifFalse: Node) =>
    graph.test(highWord(argument), test, k, ifTrue, ifFalse);
  switch (code) {
    case JEQ:
      return upper(JEQ, high, lower(yes, no), no);
    case JSET:
      return upper(JSET, high, yes, lower(yes, no));
    default: {
      // Larger if the upper half is, and if that is the same, if the lower one is.
      const same = lower(yes, no);
      if (same === yes) return upper(JGE, high, yes, no);
      if (same === no) return upper(JGT, high, yes, no);
      if (high === 0) return upper(JEQ, 0, same, yes);
      return upper(JGT, high, yes, upper(JEQ, high, same, no));
    }
  }
}
