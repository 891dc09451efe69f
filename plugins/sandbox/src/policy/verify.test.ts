import { expect, test } from 'vitest';
import { decode, disassemble, encode, type Instruction, Interpreter, verify } from './index.ts';

const i = (code: number, k = 0, jt = 0, jf = 0): Instruction => ({ code, jt, jf, k });
const RET = i(0x06, 0x7fff_0000);

test.each<[string, readonly Instruction[]]>([
  ['it is empty', []],
  ['the last one does not return', [i(0x20, 0)]],
  ['there is no word at offset 2', [i(0x20, 2), RET]],
  ['there is no word at offset 64', [i(0x20, 64), RET]],
  ['no filter may do 0x28', [i(0x28, 0), RET]],
  ['no filter may do 0x94', [i(0x94, 3), RET]],
  ['it jumps out of the program', [i(0x05, 1), RET]],
  ['it jumps out of the program', [i(0x15, 0, 1, 0), RET]],
  ['it jumps out of the program', [i(0x15, 0, 0, 1), RET]],
  ['it divides by 0', [i(0x34, 0), RET]],
  ['it shifts by 32', [i(0x64, 32), RET]],
  ['there is no M[16]', [i(0x02, 16), RET]],
  ['M[3] is read before it is written', [i(0x60, 3), RET]],
  ['M[0] is read before it is written', [i(0x15, 0, 0, 1), i(0x02, 0), i(0x60, 0), RET]],
  ['it has more than 4096', Array.from({ length: 4097 }, () => RET)],
])('%s', (why, program) => {
  expect(() => verify(program)).toThrow(why);
});

test('what is written on every way may be read', () => {
  verify([i(0x02, 0), i(0x15, 0, 0, 1), i(0x02, 1), i(0x60, 0), RET]);
  verify(Array.from({ length: 4096 }, () => RET));
});

test('calculates as the kernel does', () => {
  const run = (...program: Instruction[]) => new Interpreter([...program, i(0x16)]).run();
  expect(run(i(0x00, 5), i(0x14, 7))).toBe(0xffff_fffe);
  expect(run(i(0x00, 0xffff_ffff), i(0x24, 0xffff_ffff))).toBe(1);
  expect(run(i(0x00, 7), i(0x07), i(0x00, 3), i(0x87))).toBe(7);
  // A division by an X of 0 ends the program with 0.
  expect(run(i(0x00, 7), i(0x3c), i(0x00, 9))).toBe(0);
  expect(run(i(0x80))).toBe(64);
  expect(run(i(0x00, 9), i(0x02, 4), i(0x61, 4), i(0x00, 1), i(0x0c))).toBe(10);
  expect(run(i(0x00, 3), i(0x84))).toBe(0xffff_fffd);
});

test('a program as bytes is the same program', () => {
  const program = [i(0x20, 4), i(0x15, 0xc000_003e, 1, 0), i(0x06, 0), RET];
  expect(decode(encode(program))).toEqual(program);
  expect(disassemble(program)[1]).toBe('   1  jeq  0xc000003e, 3, 2');
  expect(() => decode(new Uint8Array(12))).toThrow('are not 1 to 4096 instructions');
});
