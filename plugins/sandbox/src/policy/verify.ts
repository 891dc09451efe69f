// What the kernel demands of a filter before it takes it: bpf_check_classic() and check_load_and_stores() of
// net/core/filter.c, seccomp_check_filter() of kernel/seccomp.c.

import { errors } from '../errors.ts';
import { DATA_BYTES, type Instruction, JA, JEQ, JGE, JGT, JSET, LD_ABS, MAX_INSTRUCTIONS, RET } from './bpf.ts';

const K = 0x00;
const X = 0x08;
const ALU = 0x04;
/** ADD SUB MUL DIV OR AND LSH RSH XOR, with K or X; NEG. MOD is not for seccomp. */
const ALU_OPERATIONS = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0];
const ALU_CODES = new Set(
  ALU_OPERATIONS.flatMap((operation) => [ALU | operation | K, ALU | operation | X]).concat(0x84),
);
const DIV_K = 0x34;
const SHIFTS = new Set([0x64, 0x74]);
const RET_A = 0x16;
const [LD_IMM, LDX_IMM, LD_MEM, LDX_MEM, ST, STX, LD_LEN, LDX_LEN, TAX, TXA] = [
  0x00, 0x01, 0x60, 0x61, 0x02, 0x03, 0x80, 0x81, 0x07, 0x87,
];
const CONDITIONS = new Set([JEQ, JGT, JGE, JSET].flatMap((code) => [code, code | X]));
const MEMORY = new Set([LD_MEM, LDX_MEM, ST, STX]);
const OTHERS = new Set([LD_ABS, RET, RET_A, JA, LD_IMM, LDX_IMM, LD_LEN, LDX_LEN, TAX, TXA]);
const MEMORY_WORDS = 16;

/** @throws SANDBOX_ERR_PROGRAM */
export function verify(program: readonly Instruction[]): void {
  const fail = (index: number, why: string) => errors.SANDBOX_ERR_PROGRAM({ details: { index, why } });
  if (program.length === 0) throw fail(0, 'it is empty');
  if (program.length > MAX_INSTRUCTIONS) throw fail(MAX_INSTRUCTIONS, `it has more than ${MAX_INSTRUCTIONS}`);
  for (const [index, { code, jt, jf, k }] of program.entries()) {
    const left = program.length - index - 1;
    if (!ALU_CODES.has(code) && !CONDITIONS.has(code) && !MEMORY.has(code) && !OTHERS.has(code)) {
      throw fail(index, `no filter may do 0x${code.toString(16)}`);
    }
    if (code === LD_ABS && (k % 4 !== 0 || k >= DATA_BYTES)) throw fail(index, `there is no word at offset ${k}`);
    if (code === DIV_K && k === 0) throw fail(index, 'it divides by 0');
    if (SHIFTS.has(code) && k >= 32) throw fail(index, `it shifts by ${k}`);
    if (MEMORY.has(code) && k >= MEMORY_WORDS) throw fail(index, `there is no M[${k}]`);
    if (code === JA && k >= left) throw fail(index, 'it jumps out of the program');
    if (CONDITIONS.has(code) && (jt >= left || jf >= left)) throw fail(index, 'it jumps out of the program');
  }
  const last = program.at(-1) as Instruction;
  if (last.code !== RET && last.code !== RET_A) throw fail(program.length - 1, 'the last one does not return');
  checkMemory(program, fail);
}

/** Each word of M must have been written on every way to where it is read. */
function checkMemory(program: readonly Instruction[], fail: (index: number, why: string) => Error): void {
  const masks = new Uint16Array(program.length).fill(0xffff);
  let valid = 0;
  const join = (index: number) => {
    masks[index] = (masks[index] as number) & valid;
  };
  for (const [index, { code, jt, jf, k }] of program.entries()) {
    valid &= masks[index] as number;
    if (code === ST || code === STX) valid |= 1 << k;
    else if ((code === LD_MEM || code === LDX_MEM) && (valid & (1 << k)) === 0) {
      throw fail(index, `M[${k}] is read before it is written`);
    } else if (code === JA) {
      join(index + 1 + k);
      valid = 0xffff;
    } else if (CONDITIONS.has(code)) {
      join(index + 1 + jt);
      join(index + 1 + jf);
      valid = 0xffff;
    }
  }
}
