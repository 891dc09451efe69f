// Runs a filter as the kernel would, for tests and for asking.

import { type Action, actionOf } from './actions.ts';
import { DATA_BYTES, type Instruction } from './bpf.ts';
import type { Call } from './evaluate.ts';
import { verify } from './verify.ts';

/** A program that has been checked, as columns. */
export class Interpreter {
  readonly #code: Uint16Array;
  readonly #jt: Uint8Array;
  readonly #jf: Uint8Array;
  readonly #k: Uint32Array;
  /** struct seccomp_data, as words. */
  readonly data = new Uint32Array(DATA_BYTES / 4);
  readonly #memory = new Uint32Array(16);
  /** Instructions of the latest run. */
  steps = 0;

  /** @throws SANDBOX_ERR_PROGRAM for what the kernel refuses */
  constructor(program: readonly Instruction[]) {
    verify(program);
    this.#code = Uint16Array.from(program, ({ code }) => code);
    this.#jt = Uint8Array.from(program, ({ jt }) => jt);
    this.#jf = Uint8Array.from(program, ({ jf }) => jf);
    this.#k = Uint32Array.from(program, ({ k }) => k);
  }

  /** `undefined` where the number is one of no action. */
  decide({ auditArch, number, args }: Call): Action | undefined {
    const { data } = this;
    data[0] = number;
    data[1] = auditArch;
    for (let index = 0; index < 6; index++) {
      const value = args[index] ?? 0n;
      data[4 + 2 * index] = Number(value & 0xffff_ffffn);
      data[5 + 2 * index] = Number((value >> 32n) & 0xffff_ffffn);
    }
    return actionOf(this.run());
  }

  /** On what is in `data`: the number that the filter returns. */
  run(): number {
    const { data } = this;
    const [codes, jts, jfs, ks, memory] = [this.#code, this.#jt, this.#jf, this.#k, this.#memory];
    let a = 0;
    let x = 0;
    let steps = 0;
    for (let pc = 0; ; pc++) {
      steps++;
      const code = codes[pc] as number;
      const k = ks[pc] as number;
      // Bit 3: the other side is X and not K.
      const other = (code & 0x08) !== 0 ? x : k;
      switch (code & 0x07) {
        case 0x00: // LD
        case 0x01: {
          // LDX
          const mode = code & 0xe0;
          const value =
            mode === 0x20
              ? (data[k >> 2] as number)
              : mode === 0x60
                ? (memory[k] as number)
                : mode === 0x80
                  ? DATA_BYTES
                  : k;
          if ((code & 0x07) === 0) a = value;
          else x = value;
          break;
        }
        case 0x02: // ST
          memory[k] = a;
          break;
        case 0x03: // STX
          memory[k] = x;
          break;
        case 0x04: // ALU
          if ((code & 0xf0) === 0x30 && other === 0) {
            this.steps = steps;
            return 0;
          }
          a = calculate(code & 0xf0, a, other);
          break;
        case 0x05: {
          const operation = code & 0xf0;
          if (operation === 0x00) {
            pc += k;
            break;
          }
          const isTrue =
            operation === 0x10
              ? a === other
              : operation === 0x20
                ? a > other
                : operation === 0x30
                  ? a >= other
                  : (a & other) !== 0;
          pc += (isTrue ? jts[pc] : jfs[pc]) as number;
          break;
        }
        case 0x06:
          this.steps = steps;
          return (code & 0x18) === 0x10 ? a : k;
        default: // MISC
          if (code === 0x87) a = x;
          else x = a;
      }
    }
  }
}

function calculate(operation: number, a: number, b: number): number {
  switch (operation) {
    case 0x00:
      return (a + b) >>> 0;
    case 0x10:
      return (a - b) >>> 0;
    case 0x20:
      return Math.imul(a, b) >>> 0;
    case 0x30:
      return Math.floor(a / b);
    case 0x40:
      return (a | b) >>> 0;
    case 0x50:
      return (a & b) >>> 0;
    // Over 31 the kernel takes the low five bits, as JavaScript does.
    case 0x60:
      return (a << b) >>> 0;
    case 0x70:
      return a >>> b;
    case 0x80:
      return -a >>> 0;
    default:
      return (a ^ b) >>> 0;
  }
}
