// Seccomp policies: from text to decisions and programs.

export { type Action, type ActionKind, actionOf, returnValue } from './actions.ts';
export { decode, disassemble, encode, type Instruction, MAX_INSTRUCTIONS } from './bpf.ts';
export { compilePolicy } from './compile.ts';
export { type Call, type Decision, evaluate } from './evaluate.ts';
export { Interpreter } from './interpret.ts';
export { type ParseOptions, parsePolicy } from './parse.ts';
export type { Atom, Clause, Dialect, Filter, Operator, Policy, Position, Rule, Warning } from './policy.ts';
export {
  ARCHITECTURES,
  type Architecture,
  architectureCalled,
  readConstantsJson,
  type Tables,
  tablesOf,
} from './tables.ts';
export { verify } from './verify.ts';
