import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type BalloonChange, type GuestMemory, levelOf, NO_MEMO, planBalloons } from './balloon-policy.ts';
import type { HostMemory } from './pressure.ts';

const MIN = 256;
/** Of a guest's memory, its kernel has this for itself. */
const OWN = 60;

interface SimulatedGuest {
  readonly maxMib: number;
  /** What its programs need. */
  usedMib: number;
  actualMib: number;
  targetMib: number;
}

/** A computer whose guests use all that they have, for their caches if for nothing else. */
class Simulation {
  readonly totalMib: number;
  readonly guests: readonly SimulatedGuest[];
  /** Of everything else on it. */
  baseMib: number;
  readonly changes: { readonly at: number; readonly change: BalloonChange; readonly rise: boolean }[] = [];
  seconds = 0;
  #some10 = 0;
  #memo = NO_MEMO;

  constructor(
    totalMib: number,
    baseMib: number,
    guests: readonly { readonly maxMib: number; readonly usedMib: number }[],
  ) {
    this.totalMib = totalMib;
    this.baseMib = baseMib;
    this.guests = guests.map((guest) => ({ ...guest, actualMib: guest.maxMib, targetMib: guest.maxMib }));
  }

  get host(): HostMemory {
    const taken = this.guests.reduce((sum, { actualMib }) => sum + actualMib, this.baseMib);
    const availableMib = Math.max(0, this.totalMib - taken);
    return { totalMib: this.totalMib, availableMib, some10: this.#some10, full10: this.#some10 / 4 };
  }

  run(seconds: number): void {
    for (let end = this.seconds + seconds; this.seconds < end; this.seconds++) this.#second();
  }

  available({ actualMib, usedMib }: SimulatedGuest): number {
    return Math.max(0, actualMib - OWN - usedMib);
  }

  #second(): void {
    // As the average over ten seconds follows.
    const stalls = this.host.availableMib < this.totalMib / 30 ? 50 : 0;
    this.#some10 += (stalls - this.#some10) / 10;
    const guests = this.guests.map((guest, at): GuestMemory => {
      const { maxMib, actualMib } = guest;
      return { key: String(at), maxMib, actualMib, availableMib: this.available(guest) };
    });
    const now = this.seconds * 1_000;
    const { memo, changes } = planBalloons(this.#memo, { host: this.host, guests, minMib: MIN, now });
    this.#memo = memo;
    for (const change of changes) {
      const guest = this.guests[Number(change.key)] as SimulatedGuest;
      this.changes.push({ at: this.seconds, change, rise: change.targetMib > guest.targetMib });
      guest.targetMib = change.targetMib;
    }
    for (const guest of this.guests) {
      const step = Math.max(-300, Math.min(300, guest.targetMib - guest.actualMib));
      // Nothing that programs have can be taken.
      guest.actualMib = Math.max(guest.actualMib + step, Math.min(guest.actualMib, guest.usedMib + OWN));
    }
  }

  /** How often a guest was given memory after some was taken, and the other way round. */
  turns(key = '0', since = 0): number {
    const own = this.changes.filter(({ at, change }) => change.key === key && at >= since);
    return own.filter(({ rise }, at) => at > 0 && rise !== own[at - 1]?.rise).length;
  }
}

const anyGuests = fc.array(
  fc.record({ maxMib: fc.integer({ min: 300, max: 4_096 }), load: fc.double({ min: 0, max: 0.9, noNaN: true }) }),
  { minLength: 1, maxLength: 5 },
);
const simulation = fc
  .record({
    totalMib: fc.integer({ min: 4_096, max: 65_536 }),
    base: fc.double({ min: 0, max: 1, noNaN: true }),
    guests: anyGuests,
  })
  .map(({ totalMib, base, guests }) => {
    const list = guests.map(({ maxMib, load }) => ({ maxMib, usedMib: Math.floor(load * (maxMib - OWN)) }));
    return new Simulation(totalMib, Math.floor(base * totalMib), list);
  });

test('no guest is brought below its floor, nor above what it has', () => {
  fc.assert(
    fc.property(simulation, (machine) => {
      machine.run(300);
      for (const { change } of machine.changes) {
        const guest = machine.guests[Number(change.key)] as SimulatedGuest;
        expect(change.targetMib).toBeLessThanOrEqual(guest.maxMib);
        expect(change.targetMib).toBeGreaterThanOrEqual(Math.min(MIN, guest.maxMib));
        if (change.why === 'host-short') expect(change.targetMib).toBeGreaterThanOrEqual(guest.usedMib + OWN);
      }
    }),
    { numRuns: 300 },
  );
});

test('with a load that stays, it does not swing', () => {
  fc.assert(
    fc.property(simulation, (machine) => {
      machine.run(1_200);
      for (const at of machine.guests.keys()) expect(machine.turns(String(at))).toBeLessThanOrEqual(2);
      // In the end it stands still.
      expect(machine.changes.filter((change) => change.at > 900)).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test('a guest that gets short has memory again within seconds, however short the host is', () => {
  fc.assert(
    fc.property(simulation, fc.double({ min: 0, max: 0.9, noNaN: true }), (machine, load) => {
      machine.run(120);
      for (const guest of machine.guests)
        guest.usedMib = Math.max(guest.usedMib, Math.floor(load * (guest.maxMib - OWN)));
      machine.run(30);
      for (const guest of machine.guests) {
        const enough = machine.available(guest) >= Math.max(64, guest.maxMib / 8) / 2;
        expect(enough || guest.actualMib === guest.maxMib).toBe(true);
      }
    }),
    { numRuns: 200 },
  );
});

test('a host that is short gets what guests can spare, and gives it back when it has had room', () => {
  const machine = new Simulation(10_240, 1_000, [
    { maxMib: 4_096, usedMib: 500 },
    { maxMib: 2_048, usedMib: 1_500 },
  ]);
  machine.run(60);
  expect(machine.changes).toEqual([]);
  machine.baseMib = 5_500;
  machine.run(60);
  expect(levelOf(machine.host)).not.toBe('short');
  const [first, second] = machine.guests;
  expect(first?.actualMib).toBeLessThan(3_000);
  // It has little to spare.
  expect(second?.actualMib).toBeGreaterThan(1_800);
  machine.baseMib = 1_000;
  machine.run(9);
  expect(first?.actualMib).toBeLessThan(3_000);
  machine.run(120);
  expect(machine.guests.map(({ actualMib }) => actualMib)).toEqual([4_096, 2_048]);
});

test('a host that has room only as long as nothing is given back is tried less and less often', () => {
  const guest = { key: '0', maxMib: 4_096, availableMib: 3_000 };
  let memo = NO_MEMO;
  let actualMib = 4_096;
  let turns = 0;
  let last = '';
  for (let second = 0; second < 7_200; second++) {
    // Whatever is given back at all has it wait.
    const host = { totalMib: 8_192, availableMib: 6_000, some10: actualMib > 3_000 ? 40 : 0, full10: 0 };
    const availableMib = actualMib - 1_000;
    const plan = planBalloons(memo, {
      host,
      guests: [{ ...guest, actualMib, availableMib }],
      minMib: MIN,
      now: second * 1_000,
    });
    memo = plan.memo;
    for (const { targetMib, why } of plan.changes) {
      actualMib = targetMib;
      if (why !== last) turns += 1;
      last = why;
    }
  }
  expect(turns).toBeLessThan(40);
});

test('a guest that tells nothing keeps what it has; one that lies keeps the least', () => {
  const host = { totalMib: 8_192, availableMib: 100, some10: 0, full10: 0 };
  const silent = { key: 'a', maxMib: 1_024, actualMib: 1_024, availableMib: undefined };
  const liar = { key: 'b', maxMib: 1_024, actualMib: 1_024, availableMib: 1e15 };
  let memo = NO_MEMO;
  let target = 1_024;
  for (let now = 0; now < 60_000; now += 1_000) {
    const guests = [silent, { ...liar, actualMib: target }];
    const plan = planBalloons(memo, { host, guests, minMib: MIN, now });
    memo = plan.memo;
    for (const { key, targetMib } of plan.changes) {
      expect(key).toBe('b');
      target = targetMib;
    }
  }
  expect(target).toBeGreaterThanOrEqual(MIN);
  expect(target).toBeLessThan(MIN + 16);
});
