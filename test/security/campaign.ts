// Wages a campaign against one target, in processes of its own: a crash or a case without an end costs no more than these.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const PROGRAM = join(import.meta.dirname, '../programs/hostile.ts');
const FLAGS = ['--expose-gc', '--conditions=@runtime/source'];
/** Nothing was heard of a process for so long, in ms: a life takes a few. */
const STUCK_MS = 30_000;

export interface Campaign {
  readonly target: string;
  readonly cases: number;
  /** Of the first life. */
  readonly seed: number;
  /** Processes. */
  readonly shards: number;
}

export interface Outcome {
  readonly cases: number;
  readonly lives: number;
  /** Where a longer campaign goes on. */
  readonly next: number;
  readonly seconds: number;
  readonly stats: Readonly<Record<string, number>>;
}

interface Line {
  readonly seed?: number;
  readonly cases?: number;
  readonly failed?: string;
  readonly found?: object;
  readonly done?: true;
}

/** @throws with the seed of the life that went wrong, and where it was written down */
export async function wage({ target, cases, seed, shards }: Campaign): Promise<Outcome> {
  const outcomes = await Promise.all(
    Array.from({ length: shards }, (_, shard) => run(target, seed + shard, shards, Math.ceil(cases / shards))),
  );
  const sum = (of: (outcome: Outcome) => number): number => outcomes.reduce((total, one) => total + of(one), 0);
  return {
    cases: sum((one) => one.cases),
    lives: sum((one) => one.lives),
    next: Math.max(...outcomes.map(({ next }) => next)),
    seconds: Math.max(...outcomes.map(({ seconds }) => seconds)),
    stats: outcomes[0]?.stats ?? {},
  };
}

async function run(target: string, first: number, step: number, cases: number): Promise<Outcome> {
  const args = [target, String(first), String(step), String(cases)];
  const child = spawn(process.execPath, [...FLAGS, PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let last: Line & Partial<Outcome> = {};
  let errors = '';
  const stuck = (): NodeJS.Timeout => setTimeout(() => child.kill('SIGKILL'), STUCK_MS);
  let timer = stuck();
  child.stderr.on('data', (chunk: Buffer) => {
    errors = `${errors}${chunk}`.slice(-4000);
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    clearTimeout(timer);
    timer = stuck();
    last = { ...last, ...(JSON.parse(line) as Line) };
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearTimeout(timer);
  if (last.done === true && code === 0) return last as Outcome;
  const where = `${target}: the life of seed ${last.seed ?? first}, or one soon after`;
  if (last.failed === undefined) throw new Error(`${where}: it ended with ${signal ?? code}\n${errors}`);
  throw new Error(`${where}: ${last.failed}${keep(target, last.found)}`);
}

/** For a corpus. */
function keep(target: string, found: object | undefined): string {
  if (found === undefined) return '';
  const file = join(mkdtempSync(join(tmpdir(), 'hostile-')), `${target}.json`);
  writeFileSync(file, `${JSON.stringify({ target, ...found }, null, 1)}\n`);
  return `\nwhat led there is in ${file}`;
}
