// Virtqueues against a guest that means harm. Cases that were found, or that somebody thought of, are in corpus/.

import { readdirSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { isRuntimeError } from '@runtime/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DriverOptions } from '../testing/virtio/driver.ts';
import { createDriverQueue } from '../testing/virtio/driver-queue.ts';
import { seededRandom } from '../testing/virtio/front-end-hostile.ts';
import { createGuestRam, type GuestRam } from '../testing/virtio/guest-ram.ts';
import { type HostileAct, HostileDriver } from '../testing/virtio/hostile.ts';
import { CarefulDevice, checkChain } from './test-programs/careful-device.ts';
import { createVirtqueue, type VirtqueueSetup } from './virtqueue.ts';

/** Two neighbours, and one above 4 GiB. */
const REGIONS = [
  { guestAddress: 0x1000, size: 0x4_0000 },
  { guestAddress: 0x4_1000, size: 0x4_0000 },
  { guestAddress: 0x1_0000_0000, size: 0x1_0000 },
];

const rings: DriverOptions[] = [];
for (const packed of [false, true])
  for (const indirect of [false, true])
    for (const eventIdx of [false, true])
      for (const inOrder of [false, true]) rings.push({ packed, indirect, eventIdx, inOrder, size: 16 });

/** After all that: the driver resets the ring, behaves, and is served. */
function serveGood(ram: GuestRam, ring: DriverOptions): void {
  using driver = createDriverQueue(ram, ring);
  const queue = createVirtqueue(driver.setup());
  for (let i = 0; i < 40; i += 1) {
    driver.add([Uint8Array.of(i)], [1]);
    driver.kick();
    const chain = queue.pop();
    if (chain === undefined) throw new Error('a well-behaved driver is not served');
    chain.writeU8(0, chain.readU8(0));
    queue.push(chain.head, 1);
    queue.flush();
    expect(driver.used()[0]?.data).toEqual(Uint8Array.of(i));
  }
}

describe('whatever the guest writes, the device touches only its memory, and serves it when it behaves again', () => {
  test.each(rings)('%o', (ring) => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = seededRandom(seed);
        using ram = createGuestRam(REGIONS);
        using driver = createDriverQueue(ram, ring);
        using guest = new HostileDriver(driver);
        const queue = createVirtqueue(driver.setup());
        const device = new CarefulDevice(queue, ram.memory, random);
        for (let i = 0; i < 60; i += 1) {
          guest.apply(guest.invent(random));
          if (random(3) > 0) device.turn();
        }
        expect(ram.intact).toBe(true);
        serveGood(ram, ring);
      }),
      { numRuns: 60 },
    );
  });
});

test('a setup that cannot be is refused with a code', () => {
  const number = fc.oneof(
    fc.nat(),
    fc.constantFrom(-1, 0.5, Number.NaN, 2 ** 53, 2 ** 60, 0x4_0ff0, 0x4_1000, 0xffff_ffff),
  );
  const over = fc.record(
    { size: number, desc: number, driver: number, device: number, base: number },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(over, fc.boolean(), (setup: Partial<VirtqueueSetup>, packed) => {
      using ram = createGuestRam(REGIONS);
      using driver = createDriverQueue(ram, { packed });
      try {
        createVirtqueue(driver.setup(setup)).pop();
      } catch (e) {
        expect(isRuntimeError(e, 'SDK_ERR_VIRTIO_QUEUE')).toBe(true);
      }
      expect(ram.intact).toBe(true);
    }),
    { numRuns: 300 },
  );
});

interface CorpusCase {
  readonly why: string;
  readonly ring: DriverOptions;
  readonly acts: readonly HostileAct[];
  readonly expect: {
    readonly popped?: number;
    readonly refused?: number;
    readonly refusal?: string;
    readonly broken?: string;
    /** Lengths of the segments of the last chain. */
    readonly segments?: readonly number[];
  };
}

describe('corpus', () => {
  const folder = new URL('corpus/', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  const cases = files.flatMap((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as CorpusCase[]);

  test.each(cases)('$why', ({ ring, acts, expect: expected }) => {
    using ram = createGuestRam(REGIONS);
    using driver = createDriverQueue(ram, { size: 8, ...ring });
    using guest = new HostileDriver(driver);
    const queue = createVirtqueue(driver.setup());
    let segments: number[] = [];
    for (const act of acts) guest.apply(act);
    for (let i = 0; i < 100; i += 1) {
      const chain = queue.pop();
      if (chain === undefined) break;
      checkChain(chain, ram.memory);
      segments = [...chain.length.subarray(0, chain.count)];
      queue.push(chain.head, 0);
    }
    queue.flush();
    if (expected.popped !== undefined) expect(queue.stats.popped).toBe(expected.popped);
    if (expected.refused !== undefined) expect(queue.stats.refused).toBe(expected.refused);
    if (expected.segments !== undefined) expect(segments).toEqual(expected.segments);
    expect(queue.refusal).toEqual(expected.refusal);
    if (expected.broken === undefined) expect(queue.broken).toBeUndefined();
    else expect(queue.broken).toContain(expected.broken);
    expect(ram.intact).toBe(true);
    serveGood(ram, ring);
  });
});

test.each([false, true])('the ring and its tables change while the device reads them (packed: %s)', async (packed) => {
  using ram = createGuestRam([{ guestAddress: 0x1000, size: 0x4_0000 }]);
  const ring = { packed, indirect: true, eventIdx: true, size: 16 };
  const random = seededRandom(1);
  const [file] = ram.files;
  if (file === undefined) throw new Error('no memory');
  // Another thread writes over all that there is, as a virtual CPU would.
  const worker = new Worker(new URL('test-programs/scribbler.ts', import.meta.url), {
    workerData: { fd: file.fd, length: file.offset + file.size, offset: file.offset, size: file.size },
  });
  await new Promise((resolve) => worker.once('message', resolve));
  const end = Date.now() + 400;
  let rounds = 0;
  while (Date.now() < end) {
    using driver = createDriverQueue(ram, ring);
    using guest = new HostileDriver(driver);
    const device = new CarefulDevice(createVirtqueue(driver.setup()), ram.memory, random);
    for (let i = 0; i < 20; i += 1) {
      guest.apply(guest.invent(random));
      device.turn();
    }
    rounds += 1;
  }
  await worker.terminate();
  expect(rounds).toBeGreaterThan(1);
  expect(ram.intact).toBe(true);
});
