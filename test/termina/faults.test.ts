// Kills at chosen moments of what is done with VMs: npm run soak -- faults plays them by the hundred.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Round, Storm } from '../soak/fault-round.ts';
import { lineOf } from '../soak/faults.ts';
import { Subject } from '../soak/subject.ts';
import { lacking } from '../vm/lab.ts';

const missing = lacking();
const MIN = 60_000;

/** So few that they take a minute; the VM is started again only after those that end it. */
const ROUNDS: readonly Round[] = [
  { victim: 'runtime', moment: 'resize', seed: 3 },
  { victim: 'device', moment: 'resize', seed: 5 },
  { victim: 'runtime', moment: 'export', seed: 1 },
  { victim: 'runtime', moment: 'import', seed: 2 },
  { victim: 'device', moment: 'export', seed: 4 },
  { victim: 'guest', moment: 'import', seed: 6 },
  { victim: 'machine', moment: 'stop', seed: 8 },
  { victim: 'runtime', moment: 'start', seed: 9 },
];

describe.skipIf(missing !== undefined)(`Faults${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  let subject: Subject;
  let storm: Storm;

  beforeAll(async () => {
    subject = new Subject();
    storm = new Storm(subject);
    await storm.prepare();
  }, 10 * MIN);
  afterAll(() => subject[Symbol.asyncDispose](), MIN);

  test.each(ROUNDS)('$victim killed during $moment (seed $seed)', { timeout: 4 * MIN }, async (round) => {
    const verdict = await storm.play(round);
    expect(verdict.problems, lineOf(verdict)).toEqual([]);
  });
});
