// The device against a guest that means harm. Cases that were found, or that somebody thought of, are in corpus/.

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OP } from './packet.ts';
import { type Act, HOST_PORTS, Player } from './test-acts.ts';
import { type Packet, VsockRig } from './test-rig.ts';

/** Of up to 120 acts each; more in a longer campaign. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 60);

const u32 = fc.oneof(fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1), fc.nat(300_000), fc.nat({ max: 2 ** 32 - 1 }));
/** Few, so that packets meet connections. */
const port = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(...HOST_PORTS, 5002, 1, 2) },
  { weight: 1, arbitrary: fc.constantFrom(0x4000_0000, 0x4000_0001, 2 ** 32 - 1) },
);

const packet = fc.record(
  {
    do: fc.constant('packet' as const),
    op: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 7 }) }, { weight: 1, arbitrary: fc.nat(65_535) }),
    sourcePort: port,
    destinationPort: port,
    type: fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.nat(3) }),
    flags: fc.oneof(fc.nat(3), u32),
    bufAlloc: fc.oneof({ weight: 5, arbitrary: fc.constantFrom(65_536, 262_144) }, { weight: 1, arbitrary: u32 }),
    forwarded: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: u32 }),
    sourceCid: fc.constantFrom(0, 1, 2, 43),
    destinationCid: fc.constantFrom(0, 1, 3),
    length: u32,
    data: fc.nat(20_000),
    cut: fc.nat(60),
  },
  { requiredKeys: ['do', 'op', 'sourcePort', 'destinationPort'] },
);
/** What a guest would send, without the lies that `packet` nearly always has. */
const sound = packet.map(({ do: what, op, sourcePort, destinationPort, data = 0 }) => ({
  do: what,
  op: op > 7 ? OP.rw : op,
  sourcePort,
  destinationPort,
  ...(op === OP.shutdown ? { flags: (data % 3) + 1 } : {}),
  ...(op === OP.rw ? { data } : {}),
}));
const request = port.map((sourcePort) => ({
  do: 'packet' as const,
  op: OP.request,
  sourcePort,
  destinationPort: HOST_PORTS[0] as number,
}));
const host = fc.record({
  do: fc.constant('host' as const),
  which: fc.nat(2),
  what: fc.constantFrom('write' as const, 'read' as const, 'end' as const, 'close' as const),
});
const client = fc.record({
  do: fc.constant('client' as const),
  says: fc.constantFrom('CONNECT 1\n', 'CONNECT 2\nabc', 'CONNECT', 'nonsense\n', ''),
});
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 4, arbitrary: packet },
  { weight: 6, arbitrary: sound },
  { weight: 3, arbitrary: request },
  { weight: 5, arbitrary: host },
  { weight: 1, arbitrary: client },
  { weight: 6, arbitrary: fc.constant({ do: 'wait' as const }) },
  { weight: 1, arbitrary: fc.boolean().map((on) => ({ do: 'reading' as const, on })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...(['reload', 'reset', 'elsewhere'] as const)).map((what) => ({ do: what })),
  },
);

const openFds = (): number => readdirSync('/proc/self/fd').length;

/** After all that: the next guest behaves, and is served. */
async function serveGood(rig: VsockRig): Promise<void> {
  rig.device.reset();
  const got: Packet[] = [];
  rig.onPacket = (one) => got.push(one);
  rig.resumeReading();
  const ports = { sourcePort: 77, destinationPort: HOST_PORTS[0] as number };
  rig.send({ ...ports, op: OP.request });
  const isServed = (): boolean => got.some(({ op, destinationPort }) => op === OP.response && destinationPort === 77);
  for (let i = 0; i < 500 && !isServed(); i++) await sleep(1);
  if (!isServed()) throw new Error('a well-behaved guest is not served');
}

async function play(acts: readonly Act[]): Promise<void> {
  const before = openFds();
  {
    await using rig = new VsockRig({ options: { maxConnections: 8, bufferMemory: 2 ** 21 } });
    using player = new Player(rig);
    await player.play(acts);
    await serveGood(rig);
  }
  // Sockets of the test's own clients close later.
  for (let i = 0; i < 200 && openFds() > before; i++) await sleep(1);
  expect(openFds()).toBeLessThanOrEqual(before);
}

test('whatever guest and hosts do, nothing leaks and the next guest is served', {
  timeout: 60_000 + RUNS * 100,
}, async () => {
  await fc.assert(fc.asyncProperty(fc.array(act, { minLength: 20, maxLength: 120, size: 'max' }), play), {
    numRuns: RUNS,
  });
});

interface Case {
  readonly why: string;
  readonly acts: readonly Act[];
}

const corpus = new URL('./corpus/', import.meta.url);
const cases = readdirSync(corpus).flatMap((file) => JSON.parse(readFileSync(new URL(file, corpus), 'utf8')) as Case[]);

test.each(cases)('$why', async ({ acts }) => play(acts));
