// npm run soak -- faults: kills, at random moments of everything that is done with a VM.

import { seededRandom } from '@runtime/sdk/testing';
import { MOMENTS, Storm, type Verdict, VICTIMS } from './fault-round.ts';
import { Subject } from './subject.ts';

export interface FaultOptions {
  /** Rounds in which somebody was killed, of each victim. */
  readonly count: number;
  readonly seed: number;
  /** After which no more round begins. */
  readonly minutes: number;
  readonly victims: readonly string[];
  readonly moments: readonly string[];
  readonly settings: readonly string[];
}

/** So many rounds are played at most for one that counts. */
const PLAYED_MAX = 3;

/** True: all is well. */
export async function faults({ count, seed, minutes, victims, moments, settings }: FaultOptions): Promise<boolean> {
  const until = Date.now() + minutes * 60_000;
  await using subject = new Subject(settings);
  const storm = new Storm(subject);
  await storm.prepare();
  const [whom, when] = [VICTIMS.filter((v) => victims.includes(v)), MOMENTS.filter((m) => moments.includes(m))];
  const verdicts: Verdict[] = [];
  const struck = (victim: string): number => verdicts.filter((v) => v.victim === victim && !v.missed).length;
  for (let at = 0; at < count * whom.length * PLAYED_MAX && Date.now() < until; at++) {
    const victim = whom[at % whom.length] as Verdict['victim'];
    if (struck(victim) >= count) continue;
    const own = seed + at;
    const moment = when[seededRandom(own)(when.length)] as Verdict['moment'];
    const verdict = await storm.play({ seed: own, victim, moment });
    verdicts.push(verdict);
    console.log(lineOf(verdict));
    if (verdict.problems.length > 0) console.log(subject.evidence());
  }
  console.log(tableOf(verdicts));
  const few = whom.filter((victim) => struck(victim) < count);
  if (few.length > 0) console.log(`fewer than ${count} times: ${few.map((one) => `${one} ${struck(one)}`).join(', ')}`);
  return verdicts.every(({ problems }) => problems.length === 0);
}

export function lineOf({ seed, victim, moment, afterMs, outcome, missed, problems, seconds }: Verdict): string {
  const what = `seed ${seed}: ${victim} ${missed ? 'was not there' : 'killed'} ${afterMs} ms into ${moment}, ${outcome.trim()}`;
  const verdict = problems.length > 0 ? `WRONG: ${problems.join('; ')}` : missed ? 'missed' : 'well';
  return `${what}: ${verdict} (${seconds} s)`;
}

/** Rounds that ended well of those in which somebody was killed; then those that missed, and what was wrong with them. */
function tableOf(verdicts: readonly Verdict[]): string {
  const cell = (victim: string, moment: string): string => {
    const here = verdicts.filter((v) => v.victim === victim && v.moment === moment);
    if (here.length === 0) return '–';
    const [hits, missed] = [here.filter((v) => !v.missed), here.filter((v) => v.missed)];
    const well = (some: readonly Verdict[]): number => some.filter(({ problems }) => problems.length === 0).length;
    const wrong = missed.length - well(missed);
    const apart = missed.length === 0 ? '' : ` +${missed.length} missed${wrong === 0 ? '' : `, ${wrong} WRONG`}`;
    return `${well(hits)}/${hits.length}${apart}`;
  };
  const rows = VICTIMS.map((victim) => [victim, ...MOMENTS.map((moment) => cell(victim, moment))]);
  return [['well / killed', ...MOMENTS], ...rows].map((row) => row.map((text) => text.padEnd(18)).join('')).join('\n');
}
