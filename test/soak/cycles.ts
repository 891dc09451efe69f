// npm run soak -- cycles: a VM is started and stopped over and over, and the runtime stays as it was.

import { type Footprint, footprint, problemsOf } from './census.ts';
import { Subject } from './subject.ts';

const MIB = 2 ** 20;
/** The first ones fill caches and compile code. */
const WARM_UP = 5;
/** What it may have more at the end: descriptors, leases, and bytes for each cycle. */
const MAX_MORE = 5;
const MAX_RSS_PER_CYCLE = 0.5 * MIB;

/** True: nothing grows. */
export async function cycles(count: number, settings: readonly string[]): Promise<boolean> {
  await using subject = new Subject(settings);
  await subject.start();
  const all: Footprint[] = [];
  for (let i = 0; i < count + WARM_UP; i++) {
    const begun = performance.now();
    await subject.command('start', ['c'], { profile: 'fast' });
    await subject.inGuest('c', 'true');
    await subject.command('stop', ['c']);
    const now = await footprint(subject);
    if (i >= WARM_UP) all.push(now);
    const { descriptors, rss, leases } = now;
    const seconds = ((performance.now() - begun) / 1_000).toFixed(1);
    console.log(`${i + 1}: ${seconds} s, ${descriptors} descriptors, ${Math.round(rss / MIB)} MiB, ${leases} leases`);
  }
  const problems = [...(await problemsOf(subject, []))];
  const [first, last] = [all[0], all.at(-1)];
  if (first === undefined || last === undefined) throw new Error('no cycle was counted');
  const slope = slopeOf(all.map(({ rss }) => rss));
  if (last.descriptors - first.descriptors > MAX_MORE) problems.push('descriptors grow');
  if (last.leases > first.leases) problems.push('leases grow');
  // A heap that has not met its limit yet grows, too.
  if (slope > MAX_RSS_PER_CYCLE && all.length >= 20) problems.push('memory grows');
  console.log(
    `${all.length} cycles: descriptors ${first.descriptors} → ${last.descriptors}, leases ${first.leases} → ${last.leases}, ` +
      `memory ${Math.round(first.rss / MIB)} → ${Math.round(last.rss / MIB)} MiB (${Math.round(slope / 1024)} KiB a cycle): ` +
      (problems.length === 0 ? 'well' : `WRONG: ${problems.join('; ')}`),
  );
  return problems.length === 0;
}

/** Of the line that fits best. */
function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  let [above, below] = [0, 0];
  for (const [at, value] of values.entries()) {
    above += (at - middle) * (value - mean);
    below += (at - middle) ** 2;
  }
  return below === 0 ? 0 : above / below;
}
