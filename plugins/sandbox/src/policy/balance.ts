// Long rows of tests of one word, as a list of ioctls makes them, turned into a search.

import { JEQ, JGT, JSET } from './bpf.ts';
import { type Graph, isLeaf, isTrueOf, type Node, type Test } from './graph.ts';
import { type Segment, searchTree } from './search-tree.ts';

/** Shorter rows are quicker as they are. */
const MIN_TESTS = 5;
const MAX_WORD = 0xffff_ffff;

export function balance(graph: Graph, root: Node): Node {
  const done = new Map<Node, Node>();
  const visit = (node: Node): Node => {
    if (isLeaf(node)) return node;
    const known = done.get(node);
    if (known !== undefined) return known;
    const row = node.code === JSET ? undefined : rowFrom(node);
    const result =
      row === undefined || row.length < MIN_TESTS
        ? graph.test(node.word, node.code, node.k, visit(node.yes), visit(node.no))
        : searchTree(graph, node.word, segmentsOf(node, row, visit));
    done.set(node, result);
    return result;
  };
  return visit(root);
}

const isInRow = (node: Node, word: number): node is Test => !isLeaf(node) && node.word === word && node.code !== JSET;

/** All comparisons of the same word that follow without another word between. */
function rowFrom(first: Test): readonly Test[] {
  const row = new Set<Test>();
  const stack: Test[] = [first];
  for (let test = stack.pop(); test !== undefined; test = stack.pop()) {
    if (row.has(test)) continue;
    row.add(test);
    for (const next of [test.yes, test.no]) if (isInRow(next, first.word)) stack.push(next);
  }
  return [...row];
}

function segmentsOf(first: Test, row: readonly Test[], visit: (node: Node) => Node): readonly Segment[] {
  const starts = new Set<number>([0]);
  for (const { code, k } of row) {
    if (code !== JGT) starts.add(k);
    if (code === JGT || code === JEQ) if (k < MAX_WORD) starts.add(k + 1);
  }
  const sorted = [...starts].sort((a, b) => a - b);
  return sorted.map((from, index) => {
    const to = (sorted[index + 1] ?? MAX_WORD + 1) - 1;
    let node: Node = first;
    while (isInRow(node, first.word)) node = isTrueOf(from, node.code, node.k) ? node.yes : node.no;
    return { from, to, node: visit(node), weight: from === to ? 1 : 0 };
  });
}
