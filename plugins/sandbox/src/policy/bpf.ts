// Classic BPF as seccomp(2) runs it: include/uapi/linux/filter.h and bpf_common.h.

import { errors } from '../errors.ts';
import { actionOf } from './actions.ts';

/** struct sock_filter. */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** BPF_MAXINSNS. */
export const MAX_INSTRUCTIONS = 4096;

export const LD_ABS = 0x20;
export const RET = 0x06;
export const JA = 0x05;
export const JEQ = 0x15;
export const JGT = 0x25;
export const JGE = 0x35;
export const JSET = 0x45;

/** struct seccomp_data. */
export const NUMBER = 0;
export const ARCH = 4;
export const DATA_BYTES = 64;
/** The low half of an argument; the high one is four bytes on. All our architectures are little-endian. */
export const lowWord = (argument: number): number => 16 + 8 * argument;
export const highWord = (argument: number): number => lowWord(argument) + 4;

const BYTES = 8;

/** As minijail's --seccomp-bpf-binary takes it. */
export function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * BYTES);
  const view = new DataView(bytes.buffer);
  for (const [index, { code, jt, jf, k }] of program.entries()) {
    view.setUint16(index * BYTES, code, true);
    view.setUint8(index * BYTES + 2, jt);
    view.setUint8(index * BYTES + 3, jf);
    view.setUint32(index * BYTES + 4, k, true);
  }
  return bytes;
}

/** @throws SANDBOX_ERR_PROGRAM */
export function decode(bytes: Uint8Array): readonly Instruction[] {
  if (bytes.length % BYTES !== 0 || bytes.length === 0 || bytes.length / BYTES > MAX_INSTRUCTIONS) {
    const why = `${bytes.length} bytes are not 1 to ${MAX_INSTRUCTIONS} instructions of ${BYTES}`;
    throw errors.SANDBOX_ERR_PROGRAM({ details: { index: 0, why } });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / BYTES }, (_, index) => ({
    code: view.getUint16(index * BYTES, true),
    jt: view.getUint8(index * BYTES + 2),
    jf: view.getUint8(index * BYTES + 3),
    k: view.getUint32(index * BYTES + 4, true),
  }));
}

const JUMPS: Readonly<Record<number, string>> = { [JEQ]: 'jeq', [JGT]: 'jgt', [JGE]: 'jge', [JSET]: 'jset' };

function wordName(offset: number): string {
  if (offset === NUMBER) return 'nr';
  if (offset === ARCH) return 'arch';
  if (offset < 16) return offset === 8 ? 'ip.lo' : 'ip.hi';
  return `arg${(offset - 16) >> 3}.${offset % 8 === 0 ? 'lo' : 'hi'}`;
}

/** One line each, with the numbers of the instructions that jumps lead to. */
export function disassemble(program: readonly Instruction[]): readonly string[] {
  return program.map(({ code, jt, jf, k }, index) => {
    const hex = `0x${k.toString(16)}`;
    const jump = JUMPS[code];
    const text =
      code === LD_ABS
        ? `ld   ${wordName(k)}`
        : code === JA
          ? `ja   ${index + 1 + k}`
          : code === RET
            ? `ret  ${actionName(k)}`
            : jump === undefined
              ? `op   0x${code.toString(16)}, ${jt}, ${jf}, ${hex}`
              : `${jump.padEnd(4)} ${hex}, ${index + 1 + jt}, ${index + 1 + jf}`;
    return `${String(index).padStart(4)}  ${text}`;
  });
}

function actionName(value: number): string {
  const action = actionOf(value);
  if (action === undefined) return `0x${value.toString(16)}`;
  return action.kind === 'errno' ? `errno ${action.errno}` : action.kind;
}
