// What a BPF program decides, for every call at once: its own reading of the program, apart from the interpreter and the
// compiler. Filters that look at words as they are, as minijail's and ours do, can be read; those that calculate cannot.

import { errors } from '../errors.ts';
import { type Instruction, JA, JEQ, JGE, JGT, JSET, LD_ABS, RET } from './bpf.ts';
import type { Diagram, Diagrams } from './diagram.ts';
import { isTrueOf, type TestCode } from './graph.ts';
import { verify } from './verify.ts';

const ST = 0x02;
const LD_MEM = 0x60;

/** A word of struct seccomp_data, by offset; -1: nothing known. */
type Word = number;

/**
 * What `program` returns for a call of `number` of `auditArch`, as a diagram of the arguments.
 * @throws SANDBOX_ERR_PROGRAM for what the kernel refuses or cannot be read
 */
export function diagramOfProgram(
  diagrams: Diagrams,
  program: readonly Instruction[],
  { auditArch, number }: { readonly auditArch: number; readonly number: number },
): Diagram {
  verify(program);
  const done = new Map<string, Diagram>();
  const fail = (index: number, why: string) => errors.SANDBOX_ERR_PROGRAM({ details: { index, why } });

  const visit = (pc: number, a: Word, memory: readonly Word[]): Diagram => {
    const key = `${pc},${a},${memory.join()}`;
    const known = done.get(key);
    if (known !== undefined) return known;
    const result = step(pc, a, memory);
    done.set(key, result);
    return result;
  };
  const step = (pc: number, a: Word, memory: readonly Word[]): Diagram => {
    const { code, jt, jf, k } = program[pc] as Instruction;
    switch (code) {
      case LD_ABS:
        return visit(pc + 1, k, memory);
      case LD_MEM:
        return visit(pc + 1, memory[k] ?? -1, memory);
      case ST:
        return visit(pc + 1, a, memory.with(k, a));
      case JA:
        return visit(pc + 1 + k, a, memory);
      case RET:
        return diagrams.ending(k);
      case JEQ:
      case JGT:
      case JGE:
      case JSET: {
        const yes = () => visit(pc + 1 + jt, a, memory);
        const no = () => visit(pc + 1 + jf, a, memory);
        if (a === 0 || a === 4) return isTrueOf(a === 0 ? number : auditArch, code, k) ? yes() : no();
        if (a < 16) throw fail(pc, 'it looks at what is no argument');
        return diagrams.choose(wordTest(diagrams, a, code, k), yes(), no());
      }
      default:
        throw fail(pc, 'it calculates, which is not followed here');
    }
  };
  return visit(
    0,
    -1,
    Array.from({ length: 16 }, () => -1),
  );
}

/** Ends in 1 where the test of the word is true. */
function wordTest(diagrams: Diagrams, word: Word, code: TestCode, k: number): Diagram {
  const [yes, no] = [diagrams.ending(1), diagrams.ending(0)];
  const first = ((word - 16) >> 3) * 64 + (word % 8 === 0 ? 32 : 0);
  let diagram: Diagram = code === JEQ || code === JGE ? yes : no;
  for (let index = 0; index < 32; index++) {
    const bit = first + 31 - index;
    const isSet = ((k >>> index) & 1) === 1;
    if (code === JSET) {
      if (isSet) diagram = diagrams.branch(bit, yes, diagram);
    } else if (code === JEQ) {
      diagram = isSet ? diagrams.branch(bit, diagram, no) : diagrams.branch(bit, no, diagram);
    } else {
      diagram = isSet ? diagrams.branch(bit, diagram, no) : diagrams.branch(bit, yes, diagram);
    }
  }
  return diagram;
}
