// A hostile front end against the back end. RUNTIME_FUZZ_CASES sets how many cases are played (default 600), and
// RUNTIME_FUZZ_SEED with which it begins. A case that once went wrong is kept in corpus/.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRuntimeError } from '@runtime/core';
import { expect, test } from 'vitest';
import { socketPair } from '../../linux/unix-socket.ts';
import { VhostUserFrontEnd } from '../../testing/virtio/front-end.ts';
import { EchoDevice } from '../../testing/virtio/front-end-echo.ts';
import {
  mutateSession,
  playSession,
  type ScriptedMessage,
  seededRandom,
} from '../../testing/virtio/front-end-hostile.ts';
import { VhostUserBackend, type VhostUserEnd } from './back-end.ts';

const CASES = Number(process.env.RUNTIME_FUZZ_CASES ?? 600);
const SEED = Number(process.env.RUNTIME_FUZZ_SEED ?? 1);
/** A case that takes longer is stuck. */
const STUCK_MS = 10_000;

const folder = join(import.meta.dirname, 'corpus');
const corpus = readdirSync(folder).map((file) => {
  return [file, JSON.parse(readFileSync(join(folder, file), 'utf8')) as ScriptedMessage[]] as const;
});

const openFds = (): string[] => readdirSync('/proc/self/fd');
/** Of shared files: what V8 maps for itself comes and goes. */
const mappings = (): number => readFileSync('/proc/self/maps', 'latin1').split('/memfd:').length - 1;

interface Played {
  readonly end: VhostUserEnd;
  readonly warnings: readonly string[];
}

async function play(device: EchoDevice, run: (fd: number) => Promise<unknown>): Promise<Played> {
  const [ours, theirs] = socketPair('stream');
  const warnings: string[] = [];
  const log = { info: () => {}, warn: (message: string) => void warnings.push(message) };
  const backend = new VhostUserBackend(theirs, device, {
    log,
    sharedMemory: [4096],
    inband: true,
    limits: { memorySlots: 4 },
  });
  backend.start();
  let timer: NodeJS.Timeout | undefined;
  const stuck = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`stuck: ${JSON.stringify(backend.describe())}`)), STUCK_MS);
  });
  const [end] = await Promise.race([Promise.all([backend.closed, run(ours)]), stuck]);
  clearTimeout(timer);
  return { end, warnings };
}

/** The next front end, which keeps to the rules, is served as ever. */
async function servesWell(device: EchoDevice): Promise<void> {
  await play(device, async (fd) => {
    const frontEnd = await VhostUserFrontEnd.connect(fd, { memory: 2 ** 20, queues: [{ size: 8 }, { size: 8 }] });
    frontEnd.queue(1).add([Uint8Array.of(1, 2, 3)], [3]);
    const [completion] = await frontEnd.exchange(1, 1);
    expect([...(completion?.data ?? [])]).toEqual([1, 2, 3]);
    frontEnd[Symbol.dispose]();
  });
}

const isCoded = (e: unknown): boolean => e === undefined || isRuntimeError(e);

test.each(corpus)('the session %s', async (name, session) => {
  const device = new EchoDevice();
  const before = openFds().length;
  const { end, warnings } = await play(device, (fd) => playSession(fd, session));
  expect(isCoded(end.error)).toBe(true);
  // Real front ends, and one that says all there is: nothing to complain of.
  if (!name.startsWith('found')) expect({ ...end, warnings }).toEqual({ by: 'front-end', warnings: [] });
  expect(openFds().length).toBe(before);
  await servesWell(device);
});

test(`${CASES} hostile sessions from seed ${SEED} on`, { timeout: 30_000 + CASES * 50 }, async () => {
  const device = new EchoDevice();
  await servesWell(device);
  const fds = openFds().length;
  const maps = mappings();
  const kinds = new Map<string, number>();
  let heap = 0;
  for (let seed = SEED; seed < SEED + CASES; seed += 1) {
    const random = seededRandom(seed);
    const [, original] = corpus[random(corpus.length)] as (typeof corpus)[number];
    const session = mutateSession(original, random);
    const say = `seed ${seed}: ${JSON.stringify(session)}`;
    const { end } = await play(device, (fd) => playSession(fd, session, random)).catch((e: unknown) => {
      throw new Error(say, { cause: e });
    });
    expect(isCoded(end.error), say).toBe(true);
    const kind = end.error === undefined ? end.by : isRuntimeError(end.error) ? end.error.code : 'uncoded';
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    if (seed % 50 !== 0) continue;
    await servesWell(device);
    expect(openFds().length, `descriptors leaked at or before seed ${seed}`).toBe(fds);
    expect(mappings(), `mappings leaked at or before seed ${seed}`).toBe(maps);
    if (seed % 500 !== 0) continue;
    globalThis.gc?.();
    const { heapUsed } = process.memoryUsage();
    if (heap === 0) heap = heapUsed;
    expect(heapUsed, `the heap grew by seed ${seed}`).toBeLessThan(heap + 64 * 2 ** 20);
  }
  // All of the ways to end were taken, or the cases are not what they should be.
  expect(kinds.get('SDK_ERR_VHOST_USER_PROTOCOL')).toBeGreaterThan(CASES / 20);
  expect(kinds.get('SDK_ERR_VHOST_USER_REFUSED')).toBeGreaterThan(CASES / 50);
  expect(kinds.get('front-end')).toBeGreaterThan(CASES / 20);
});
