// npm run soak -- four: four VMs at once, each of which answers, has an address of its own, and ends.

import { problemsOf } from './census.ts';
import { Subject } from './subject.ts';

const NAMES = ['one', 'two', 'three', 'four'] as const;

/** True: all is well. */
export async function four(settings: readonly string[]): Promise<boolean> {
  await using subject = new Subject(settings);
  await subject.start();
  const begun = performance.now();
  await Promise.all(NAMES.map((name) => subject.command('start', [name], { profile: 'fast', timeout: 300 })));
  const seconds = ((performance.now() - begun) / 1_000).toFixed(1);
  const answers = await Promise.all(
    NAMES.map((name) => subject.inGuest(name, "ip -4 -o addr show scope global | awk '{print $4}'")),
  );
  console.log(`four VMs in ${seconds} s: ${NAMES.map((name, at) => `${name} ${answers[at]}`).join(', ')}`);
  const problems = [...(await problemsOf(subject, NAMES))];
  if (new Set(answers).size !== NAMES.length) problems.push('two have one address');
  await Promise.all(NAMES.map((name) => subject.command('stop', [name])));
  problems.push(...(await problemsOf(subject, [])));
  console.log(problems.length === 0 ? 'well' : `WRONG: ${problems.join('; ')}`);
  return problems.length === 0;
}
