// The programs of a guest beside PID 1, by their first argument: tremplin in the VM, garcon in containers.

import { garconMain } from './garcon/index.ts';
import { tremplinMain } from './tremplin/index.ts';

const PROGRAMS: Readonly<Record<string, (args: readonly string[]) => void>> = {
  tremplin: tremplinMain,
  garcon: garconMain,
};

const [name = '', ...args] = process.argv.slice(2);
const program = PROGRAMS[name];
if (program === undefined) {
  process.stderr.write(`usage: ${Object.keys(PROGRAMS).join('|')} [arguments]\n`);
  process.exitCode = 2;
} else program(args);
