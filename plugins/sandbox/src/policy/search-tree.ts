// Finding the part of a word's range that a value lies in: by halves that weigh the same, then one by one.

import { JEQ, JGE } from './bpf.ts';
import type { Graph, Node } from './graph.ts';

export interface Segment {
  /** Both are in it. */
  readonly from: number;
  readonly to: number;
  readonly node: Node;
  /** How often it is looked for, compared with others. */
  readonly weight: number;
}

/** Up to so many are looked for one by one: a split costs an instruction, which no more than halves what is left. */
const ONE_BY_ONE = 8;
/** What a split that an equality could have spared costs, as a share of the weight that lies to one side. */
const PENALTY = 0.2;

/** @param segments in order, without gaps, at least one */
export function searchTree(graph: Graph, word: number, segments: readonly Segment[]): Node {
  const list = merged(segments);
  const [only] = list;
  if (only !== undefined && list.length === 1) return only.node;
  const total = list.reduce((sum, { weight }) => sum + weight, 0);
  const hot = list.findIndex((segment) => isSingle(segment) && segment.weight * 2 > total);
  const peeled = hot !== -1 && list.length > 3 ? hot : list.length <= ONE_BY_ONE ? heaviestToPeel(list) : -1;
  if (peeled !== -1) {
    const { from, node } = list[peeled] as Segment;
    return graph.test(word, JEQ, from, node, searchTree(graph, word, without(list, peeled)));
  }
  const at = bestSplit(list, total);
  const right = searchTree(graph, word, list.slice(at));
  const left = searchTree(graph, word, list.slice(0, at));
  return graph.test(word, JGE, (list[at] as Segment).from, right, left);
}

const isSingle = ({ from, to }: Segment): boolean => from === to;

function merged(segments: readonly Segment[]): readonly Segment[] {
  const list: Segment[] = [];
  for (const segment of segments) {
    const last = list.at(-1);
    if (last?.node === segment.node) {
      list[list.length - 1] = { ...last, to: segment.to, weight: last.weight + segment.weight };
    } else {
      list.push(segment);
    }
  }
  return list;
}

/** Taking one value out that has the same on both sides spares two borders for one test. */
function isIsland(list: readonly Segment[], index: number): boolean {
  const segment = list[index];
  if (segment === undefined || !isSingle(segment)) return false;
  return index > 0 && index < list.length - 1 && list[index - 1]?.node === list[index + 1]?.node;
}

function heaviestToPeel(list: readonly Segment[]): number {
  let best = -1;
  for (const [index, { weight }] of list.entries()) {
    if (isIsland(list, index) && (best === -1 || weight > (list[best] as Segment).weight)) best = index;
  }
  return best;
}

/** What is taken out is given to a neighbour: nobody asks there any more. */
function without(list: readonly Segment[], index: number): readonly Segment[] {
  const gone = list[index] as Segment;
  const [before, after] = [list[index - 1], list[index + 1]];
  if (before !== undefined) return [...list.slice(0, index - 1), { ...before, to: gone.to }, ...list.slice(index + 1)];
  return [{ ...(after as Segment), from: gone.from }, ...list.slice(index + 2)];
}

/** The index of the first segment of the right half. */
function bestSplit(list: readonly Segment[], total: number): number {
  let best = 1;
  let bestScore = Number.POSITIVE_INFINITY;
  let left = 0;
  for (let at = 1; at < list.length; at++) {
    left += (list[at - 1] as Segment).weight;
    const cuts = isIsland(list, at) || isIsland(list, at - 1);
    const score = Math.abs(2 * left - total) / (total === 0 ? 1 : total) + (cuts ? PENALTY : 0);
    if (score < bestScore) [best, bestScore] = [at, score];
  }
  return best;
}
