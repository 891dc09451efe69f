// npm run soak -- faults: kills, at random moments of everything that is done with a VM.

import { seededRandom } from '@runtime/sdk/testing';
import { MOMENTS, Storm, type Verdict, VICTIMS } from './fault-round.ts';
import { Subject } from './subject.ts';

export interface FaultOptions {
  /** Rounds of each victim. */
  readonly count: number;
  readonly seed: number;
  /** After which no more round begins. */
  readonly minutes: number;
  readonly victims: readonly string[];
  readonly moments: readonly string[];
}

/** True: all is well. */
export async function faults({ count, seed, minutes, victims, moments }: FaultOptions): Promise<boolean> {
  const until = Date.now() + minutes * 60_000;
  await using subject = new Subject();
  const storm = new Storm(subject);
  await storm.prepare();
  const [whom, when] = [VICTIMS.filter((v) => victims.includes(v)), MOMENTS.filter((m) => moments.includes(m))];
  const verdicts: Verdict[] = [];
  for (let at = 0; at < count * whom.length && Date.now() < until; at++) {
    const own = seed + at;
    const victim = whom[at % whom.length] as Verdict['victim'];
    const moment = when[seededRandom(own)(when.length)] as Verdict['moment'];
    const verdict = await storm.play({ seed: own, victim, moment });
    verdicts.push(verdict);
    console.log(lineOf(verdict));
  }
  console.log(tableOf(verdicts));
  if (verdicts.length < count * whom.length)
    console.log(`${verdicts.length} of ${count * whom.length} rounds in ${minutes} min`);
  return verdicts.every(({ problems }) => problems.length === 0);
}

export function lineOf({ seed, victim, moment, afterMs, outcome, missed, problems, seconds }: Verdict): string {
  const what = `seed ${seed}: ${victim} killed ${afterMs} ms into ${moment}${missed ? ' (nobody there)' : ''}, ${outcome.trim()}`;
  return `${what}: ${problems.length === 0 ? 'well' : `WRONG: ${problems.join('; ')}`} (${seconds} s)`;
}

/** Rounds that ended well of those in which somebody was killed, and how many missed. */
function tableOf(verdicts: readonly Verdict[]): string {
  const cell = (victim: string, moment: string): string => {
    const here = verdicts.filter((v) => v.victim === victim && v.moment === moment);
    const well = here.filter(({ problems }) => problems.length === 0).length;
    const missed = here.filter((v) => v.missed).length;
    return here.length === 0 ? '–' : `${well}/${here.length}${missed === 0 ? '' : ` (${missed} missed)`}`;
  };
  const rows = VICTIMS.map((victim) => [victim, ...MOMENTS.map((moment) => cell(victim, moment))]);
  return [['well / played', ...MOMENTS], ...rows].map((row) => row.map((text) => text.padEnd(18)).join('')).join('\n');
}
