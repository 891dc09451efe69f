// The BPF program of a policy.

import { errors } from '../errors.ts';
import { returnValue } from './actions.ts';
import { assemble } from './assemble.ts';
import { balance } from './balance.ts';
import { ARCH, type Instruction, JEQ, MAX_INSTRUCTIONS, NUMBER } from './bpf.ts';
import { refusesX32 } from './evaluate.ts';
import { Graph, GraphTooLarge, type Node } from './graph.ts';
import { lowerFilters } from './lower.ts';
import type { Policy } from './policy.ts';
import { type Segment, searchTree } from './search-tree.ts';
import { X32_BIT } from './tables.ts';

const MAX_NUMBER = 0xffff_ffff;

/** @throws SANDBOX_ERR_POLICY_TOO_LONG */
export function compilePolicy(policy: Policy): readonly Instruction[] {
  let best: readonly Instruction[] | undefined;
  for (const variant of VARIANTS) {
    try {
      const program = assemble(graphOf(policy, variant));
      if (best === undefined || program.length * WORTH < best.length) best = program;
    } catch (e) {
      if (!(e instanceof GraphTooLarge)) throw e;
    }
  }
  const length = best?.length ?? Number.POSITIVE_INFINITY;
  if (best === undefined || length > MAX_INSTRUCTIONS) {
    const details = { file: policy.file, length, limit: MAX_INSTRUCTIONS };
    throw errors.SANDBOX_ERR_POLICY_TOO_LONG({ details });
  }
  return best;
}

interface Variant {
  readonly remembers: boolean;
  readonly balances: boolean;
}

/** A search is quicker than a row of tests, and may be that much longer. */
const WORTH = 1.3;

/** What is remembered can make a program longer, where a part of it would be shared otherwise. */
const VARIANTS: readonly Variant[] = [
  { remembers: true, balances: true },
  { remembers: true, balances: false },
  { remembers: false, balances: false },
];

function graphOf(policy: Policy, { remembers, balances }: Variant): Node {
  const { tables, rules, defaultAction, foreignAction } = policy;
  const graph = new Graph(remembers);
  const otherwise = returnValue(defaultAction);
  const fallback = graph.leaf(otherwise);
  const foreign = graph.leaf(returnValue(foreignAction));
  const segments: Segment[] = [];
  let next = 0;
  for (const { number, filters, frequency } of rules.values()) {
    if (number > next) segments.push({ from: next, to: number - 1, node: fallback, weight: 0 });
    const lowered = lowerFilters(graph, filters, tables.bits, ({ action }) => returnValue(action), otherwise);
    const node = balances ? balance(graph, lowered) : lowered;
    segments.push({ from: number, to: number, node, weight: frequency });
    next = number + 1;
  }
  if (refusesX32(policy)) {
    segments.push({ from: next, to: X32_BIT - 1, node: fallback, weight: 0 });
    segments.push({ from: X32_BIT, to: MAX_NUMBER, node: foreign, weight: 0 });
  } else if (next <= MAX_NUMBER) {
    segments.push({ from: next, to: MAX_NUMBER, node: fallback, weight: 0 });
  }
  // What a number says of the arguments is nothing, so the search need not be looked through.
  return graph.test(ARCH, JEQ, tables.auditArch, searchTree(graph, NUMBER, segments), foreign);
}
