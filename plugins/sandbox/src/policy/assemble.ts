// A graph as a program. It is written from its end, since jumps only lead forward: what a jump leads to is there already.

import { type Instruction, JA, LD_ABS, RET } from './bpf.ts';
import { isLeaf, type Node, type Test } from './graph.ts';

/** What a conditional jump can skip. */
const REACH = 255;

export function assemble(root: Node): readonly Instruction[] {
  if (isLeaf(root)) return [{ code: RET, jt: 0, jf: 0, k: root.value }];
  const { order, loads } = plan(root);
  /** The last instruction first. */
  const out: Instruction[] = [];
  /** Where a node begins; where its word is loaded already. The nearest copy. */
  const entries = new Map<Node, number>();
  const bare = new Map<Node, number>();
  const push = (code: number, k: number, jt = 0, jf = 0) => out.push({ code, jt, jf, k }) - 1;

  /** Has the target within reach of what is written next but one. */
  const approach = (places: Map<Node, number>, target: Node): void => {
    const place = places.get(target);
    if (place !== undefined && out.length - place <= REACH) return;
    // A copy of a return is as long as a jump to it.
    if (isLeaf(target)) places.set(target, push(RET, target.value));
    else places.set(target, push(JA, out.length - 1 - (place as number)));
  };

  for (const test of order) {
    const placesFor = (target: Node) => (!isLeaf(target) && target.word === test.word ? bare : entries);
    approach(placesFor(test.yes), test.yes);
    approach(placesFor(test.no), test.no);
    const distance = (target: Node) => out.length - 1 - (placesFor(target).get(target) as number);
    bare.set(test, push(test.code, test.k, distance(test.yes), distance(test.no)));
    if (loads.has(test)) entries.set(test, push(LD_ABS, test.word));
  }
  return out.reverse();
}

/** Tests, those that others lead to first, and which of them are reached with another word loaded. */
function plan(root: Node): { readonly order: readonly Test[]; readonly loads: ReadonlySet<Test> } {
  const order: Test[] = [];
  const seen = new Set<Node>();
  const loads = new Set<Test>();
  const visit = (node: Node): void => {
    if (isLeaf(node) || seen.has(node)) return;
    seen.add(node);
    for (const next of [node.yes, node.no]) {
      if (!isLeaf(next) && next.word !== node.word) loads.add(next);
      visit(next);
    }
    order.push(node);
  };
  if (!isLeaf(root)) loads.add(root);
  visit(root);
  return { order, loads };
}
