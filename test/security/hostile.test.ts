// Everything that a guest can speak to, against guests that mean harm: its process lives, writes to no memory but that of
// the guest, does a bounded amount of work for each case, keeps no descriptors, and serves the next guest.
//
// RUNTIME_FUZZ_CASES sets how many cases are played against each (a million takes a few minutes), RUNTIME_FUZZ_SEED with
// which life they begin, so that a campaign goes on where another one ended, and RUNTIME_FUZZ_TARGETS against whom.

import { globSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { wage } from './campaign.ts';
import { GuestTarget, type HostileCase } from './guest-target.ts';
import { TARGETS } from './targets.ts';

const { RUNTIME_FUZZ_CASES, RUNTIME_FUZZ_SEED = '1', RUNTIME_FUZZ_TARGETS } = process.env;
const SHARDS = Math.min(availableParallelism(), 16);
const targets = RUNTIME_FUZZ_TARGETS?.split(',') ?? Object.keys(TARGETS);

/** A session of messages takes as long as twenty cases of a ring. */
const usual = (target: string): number => (target.startsWith('vhost-user') ? 200 : 2_000);
const casesOf = (target: string): number => Number(RUNTIME_FUZZ_CASES ?? usual(target));

describe('against hostile guests', () => {
  test.each(targets)('%s', { timeout: 60_000 + Number(RUNTIME_FUZZ_CASES ?? 0) * 20 }, async (target) => {
    const cases = casesOf(target);
    const outcome = await wage({ target, cases, seed: Number(RUNTIME_FUZZ_SEED), shards: SHARDS });
    expect(outcome.cases).toBeGreaterThanOrEqual(cases);
    if (RUNTIME_FUZZ_CASES !== undefined) console.log(`${target}: ${JSON.stringify(outcome)}`);
  });
});

const guests = targets.filter((target) => !target.startsWith('vhost-user'));

// Never twice the same: what is found here is found again by trying again.
describe('against guests whose second CPU writes all over their memory meanwhile', () => {
  test.each(guests)('%s', { timeout: 60_000 + Number(RUNTIME_FUZZ_CASES ?? 0) * 20 }, async (guest) => {
    const cases = Math.ceil(casesOf(guest) / 10);
    const outcome = await wage({ target: `${guest}+race`, cases, seed: Number(RUNTIME_FUZZ_SEED), shards: 1 });
    expect(outcome.cases).toBe(cases);
  });
});

/** Lives in which something once went wrong. */
const corpus = globSync(join(import.meta.dirname, '../../plugins/vmm/src/devices/*/corpus/hostile-*.json')).map(
  (file) => {
    return JSON.parse(readFileSync(file, 'utf8')) as HostileCase & { readonly target: string };
  },
);

test.each(corpus)('$target: $why', async ({ target, ...life }) => {
  await using opened = await TARGETS[target]?.();
  if (!(opened instanceof GuestTarget)) throw new Error(`${target} has no rings`);
  await opened.replay(life);
  await opened.serve();
  opened.check();
});
