// Plays hostile cases against one target, and tells how far it is as lines of JSON on standard output; the last one is the
// result. A crash, or a case without an end, is for whoever started this to see: see test/security/campaign.ts.
//
// usage: node --expose-gc --conditions=@runtime/source hostile.ts TARGET SEED STEP CASES
//   TARGET+race has a second CPU of the guest write all over its memory meanwhile, and is never twice the same.
//   Lives are played with the seeds SEED, SEED + STEP, SEED + 2 STEP … until CASES cases were.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { seededRandom } from '@runtime/sdk/testing';
import { GuestTarget } from '../security/guest-target.ts';
import { Found, type Target } from '../security/target.ts';
import { TARGETS } from '../security/targets.ts';

const [name = '', first = '1', step = '1', wanted = '1000'] = process.argv.slice(2);
const CASES = Number(wanted);
const CASES_PER_LIFE = 32;
/** Lives between two looks at what else must hold. */
const CHECK_EVERY = 64;
const HEARTBEAT_MS = 500;
/** Bytes of heap, and descriptors and mappings: some things are made once, when they are first needed. */
const MAX_GROWTH = 64 * 2 ** 20;
const MAX_ONCE = 2;

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const descriptors = (): number => readdirSync('/proc/self/fd').length;
/** Of all descriptors, for people. */
const links = (): readonly string[] => {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`];
    } catch {
      return [];
    }
  });
};
/** Of shared files: what V8 maps for itself comes and goes. */
const mappings = (): number => readFileSync('/proc/self/maps', 'latin1').split('/memfd:').length - 1;

let seed = Number(first);
let cases = 0;
let lives = 0;

const [base = '', race] = name.split('+');
const open = TARGETS[base];
if (open === undefined) throw new Error(`there is no target "${name}"; there are ${Object.keys(TARGETS).join(', ')}`);
let stats: Readonly<Record<string, number>> = {};
const began = performance.now();
let lastBeat = began;

try {
  await using target = await open();
  if (race === 'race' && target instanceof GuestTarget) target.race();
  await campaign(target);
  stats = { ...target.stats?.() };
} catch (e) {
  const why = e instanceof Error ? (e.stack ?? e.message) : String(e);
  say({ failed: why, seed, cases, ...(e instanceof Found ? { found: e.acts } : {}) });
  process.exit(1);
}
const seconds = Math.round(performance.now() - began) / 1000;
say({ done: true, target: name, cases, lives, next: seed, seconds, stats });

async function campaign(target: Target): Promise<void> {
  await settled(target);
  const linksBefore = links();
  const before = { descriptors: descriptors(), mappings: mappings(), heap: heap() };
  for (; cases < CASES; seed += Number(step)) {
    // So that it is known which life it was when this is the last line.
    if (performance.now() - lastBeat > HEARTBEAT_MS) {
      lastBeat = performance.now();
      say({ seed, cases });
    }
    cases += await target.live(seededRandom(seed), Math.min(CASES_PER_LIFE, CASES - cases));
    lives += 1;
    if (lives % (target.serveEvery ?? 1) === 0) await target.serve();
    if (lives % CHECK_EVERY === 0) target.check?.();
  }
  await settled(target);
  const after = { descriptors: descriptors(), mappings: mappings(), heap: heap() };
  const leaks = (['descriptors', 'mappings'] as const).filter((what) => after[what] > before[what] + MAX_ONCE);
  const grew = after.heap > before.heap + MAX_GROWTH;
  if (leaks.length === 0 && !grew) return;
  const more = links().filter((link) => !linksBefore.includes(link));
  throw new Error(`it keeps ${JSON.stringify(after)}, and had ${JSON.stringify(before)}; new are ${more.join(', ')}`);
}

/** A few turns, in which sockets of the host side close. */
async function settled(target: Target): Promise<void> {
  await target.serve();
  target.check?.();
  await new Promise((resolve) => setTimeout(resolve, 100));
}

function heap(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}
