// A decision as a graph: tests of one word of struct seccomp_data each, which end in what the filter returns. Equal parts are
// one part, and what is known from the tests before is not tested again.

import { JEQ, JGE, JGT, JSET } from './bpf.ts';

export type TestCode = typeof JEQ | typeof JGT | typeof JGE | typeof JSET;

export interface Leaf {
  readonly id: number;
  readonly value: number;
  readonly words: 0;
}
export interface Test {
  readonly id: number;
  /** Offset in struct seccomp_data. */
  readonly word: number;
  readonly code: TestCode;
  readonly k: number;
  readonly yes: Node;
  readonly no: Node;
  /** Which words are tested from here on, a bit for each. */
  readonly words: number;
}
export type Node = Leaf | Test;

export const isLeaf = (node: Node): node is Leaf => 'value' in node;

const MAX_WORD = 0xffff_ffff;
const MAX_NODES = 60_000;
/** Of remembering, about a second. The policies of crosvm take some thousands. */
const MAX_STEPS = 1_000_000;

/** Thrown when it grows out of hand: what is known is then better forgotten. */
export class GraphTooLarge extends Error {}

export class Graph {
  readonly #leaves = new Map<number, Leaf>();
  readonly #tests = new Map<string, Test>();
  readonly #remembers: boolean;
  #next = 0;
  #steps = 0;

  /** @param remembers whether what a test says is used in those after it */
  constructor(remembers: boolean) {
    this.#remembers = remembers;
  }

  leaf(value: number): Leaf {
    const known = this.#leaves.get(value);
    if (known !== undefined) return known;
    const leaf: Leaf = { id: this.#next++, value, words: 0 };
    this.#leaves.set(value, leaf);
    return leaf;
  }

  test(word: number, code: TestCode, k: number, yes: Node, no: Node): Node {
    if (yes === no) return yes;
    const always = outcome(code, k);
    if (always !== undefined) return always ? yes : no;
    if (!this.#remembers) return this.#make(word, code, k, yes, no);
    const ifTrue = this.#assume(yes, { word, code, k, isTrue: true });
    const ifFalse = this.#assume(no, { word, code, k, isTrue: false });
    return ifTrue === ifFalse ? ifTrue : this.#make(word, code, k, ifTrue, ifFalse);
  }

  #make(word: number, code: TestCode, k: number, yes: Node, no: Node): Test {
    const key = `${word},${code},${k},${yes.id},${no.id}`;
    const known = this.#tests.get(key);
    if (known !== undefined) return known;
    if (this.#next > MAX_NODES) throw new GraphTooLarge();
    const words = (1 << (word >> 2)) | yes.words | no.words;
    const test: Test = { id: this.#next++, word, code, k, yes, no, words };
    this.#tests.set(key, test);
    return test;
  }

  #assume(node: Node, fact: Fact, done: Map<number, Node> = new Map()): Node {
    if (isLeaf(node) || (node.words & (1 << (fact.word >> 2))) === 0) return node;
    const known = done.get(node.id);
    if (known !== undefined) return known;
    if (++this.#steps > MAX_STEPS) throw new GraphTooLarge();
    const implied = node.word === fact.word ? implication(fact, node.code, node.k) : undefined;
    let result: Node;
    if (implied === undefined) {
      const yes = this.#assume(node.yes, fact, done);
      const no = this.#assume(node.no, fact, done);
      if (yes === no) result = yes;
      else result = yes === node.yes && no === node.no ? node : this.#make(node.word, node.code, node.k, yes, no);
    } else {
      result = this.#assume(implied ? node.yes : node.no, fact, done);
    }
    done.set(node.id, result);
    return result;
  }
}

interface Fact {
  readonly word: number;
  readonly code: TestCode;
  readonly k: number;
  readonly isTrue: boolean;
}

/** What a test says of any word. */
function outcome(code: TestCode, k: number): boolean | undefined {
  if (code === JSET && k === 0) return false;
  if (code === JGE && k === 0) return true;
  if (code === JGT && k === MAX_WORD) return false;
  return undefined;
}

/** What a fact about a word says of a test of the same word. */
function implication(fact: Fact, code: TestCode, k: number): boolean | undefined {
  if (fact.code === JEQ && fact.isTrue) return isTrueOf(fact.k, code, k);
  const { low, high } = boundsOf(fact);
  if (low === high) return isTrueOf(low, code, k);
  switch (code) {
    case JEQ:
      if (k < low || k > high) return false;
      if (fact.code === JEQ) return fact.k === k ? false : undefined;
      if (fact.code !== JSET) return undefined;
      return fact.isTrue === ((fact.k & k) !== 0) ? undefined : false;
    case JGE:
      return k <= low ? true : k > high ? false : undefined;
    case JGT:
      return k < low ? true : k >= high ? false : undefined;
    case JSET:
      // No bit of the mask can be set in what is smaller than its lowest one.
      if (high < lowestBit(k)) return false;
      if (fact.code === JSET && fact.isTrue) return (fact.k & ~k) === 0 ? true : undefined;
      if (fact.code === JSET) return (k & ~fact.k) === 0 ? false : undefined;
      return k === MAX_WORD && low > 0 ? true : undefined;
  }
}

export function isTrueOf(value: number, code: TestCode, k: number): boolean {
  return code === JEQ ? value === k : code === JGT ? value > k : code === JGE ? value >= k : (value & k) !== 0;
}

const lowestBit = (mask: number): number => (mask & -mask) >>> 0;

function boundsOf({ code, k, isTrue }: Fact): { readonly low: number; readonly high: number } {
  const [low, high] = [0, MAX_WORD];
  if (code === JGE) return isTrue ? { low: k, high } : { low, high: k - 1 };
  if (code === JGT) return isTrue ? { low: k + 1, high } : { low, high: k };
  if (code === JSET) return isTrue ? { low: lowestBit(k), high } : { low, high: ~k >>> 0 };
  if (!isTrue && k === 0) return { low: 1, high };
  return !isTrue && k === MAX_WORD ? { low, high: MAX_WORD - 1 } : { low, high };
}
