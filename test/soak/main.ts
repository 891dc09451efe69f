// npm run soak -- faults|cycles|four [--count N] [--seed S] [--minutes M] [--victim V]… [--moment M]… [--set KEY=VALUE]… [--tap]
// What takes too long to be part of npm test: faults by the hundred, cycles, many VMs.

import { parseArgs } from 'node:util';
import { lacking } from '../vm/lab.ts';
import { cycles } from './cycles.ts';
import { MOMENTS, VICTIMS } from './fault-round.ts';
import { faults } from './faults.ts';
import { four } from './four.ts';
import { withTaps } from './tap.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string' },
    seed: { type: 'string' },
    minutes: { type: 'string', default: '1440' },
    victim: { type: 'string', multiple: true, default: [...VICTIMS] },
    set: { type: 'string', multiple: true, default: [] },
    tap: { type: 'boolean', default: false },
    moment: { type: 'string', multiple: true, default: [...MOMENTS] },
  },
});

/** The default of each is what is promised. */
const PROGRAMS: Readonly<Record<string, (settings: readonly string[]) => Promise<boolean>>> = {
  faults: (settings) => {
    const seed = values.seed === undefined ? Date.now() % 1_000_000 : number('seed', values.seed);
    const count = number('count', values.count ?? '50');
    console.log(`seed ${seed}`);
    return faults({
      count,
      seed,
      minutes: number('minutes', values.minutes),
      victims: values.victim,
      moments: values.moment,
      settings,
    });
  },
  cycles: (settings) => cycles(number('count', values.count ?? '100'), settings),
  four,
};

const missing = lacking();
if (missing !== undefined) fail(`guests need ${missing}`);
const [name = ''] = positionals;
const program = PROGRAMS[name];
if (program === undefined || positionals.length > 1) fail(`usage: npm run soak -- ${Object.keys(PROGRAMS).join('|')}`);
const run = (more: readonly string[]): Promise<boolean> => program([...values.set, ...more]);
process.exitCode = (await (values.tap ? withTaps(run) : run([]))) ? 0 : 1;

function number(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) fail(`--${option} ${text} is no whole number`);
  return value;
}

function fail(why: string): never {
  console.error(why);
  process.exit(2);
}
