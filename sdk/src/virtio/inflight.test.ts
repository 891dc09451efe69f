import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { type Mapping, mapAnonymous } from '../linux/mapping.ts';
import type { DriverOptions, DriverQueue } from '../testing/virtio/driver.ts';
import { createDriverQueue } from '../testing/virtio/driver-queue.ts';
import { createGuestRam } from '../testing/virtio/guest-ram.ts';
import { InflightRegion } from './inflight.ts';
import { Crashed, crashAtStore } from './test-programs/crash-at-store.ts';
import { createVirtqueue, type Virtqueue, type VirtqueueSetup } from './virtqueue.ts';

const open: Disposable[] = [];
afterEach(() => {
  for (const one of open.splice(0).reverse()) one[Symbol.dispose]();
});

const SIZE = 8;

/** A guest with one queue, and the memory that outlives each back end. */
class Bench {
  readonly ram = createGuestRam(1 << 17);
  readonly driver: DriverQueue;
  readonly region: Mapping;
  readonly #packed: boolean;

  constructor(options: DriverOptions) {
    this.#packed = options.packed === true;
    this.driver = createDriverQueue(this.ram, { size: SIZE, ...options });
    this.region = mapAnonymous(InflightRegion.size(1, SIZE, this.#packed));
    open.push(this.ram, this.driver, this.region);
  }

  /** A back end that has just been connected, by a front end that knows what QEMU knows: only the ring. */
  queue(over: Partial<VirtqueueSetup> = {}): Virtqueue {
    const inflight = InflightRegion.queue(this.region, 0, 0, SIZE, this.#packed);
    const usedIdx = this.ram.bytes(this.driver.device + 2, 2);
    const base = this.#packed ? 0x8000_8000 : (usedIdx[0] as number) + (usedIdx[1] as number) * 256;
    return createVirtqueue(this.driver.setup({ inflight, base, ...over }));
  }
}

const formats: [string, DriverOptions][] = [
  ['split', { packed: false }],
  ['split, indirect, event index', { packed: false, indirect: true, eventIdx: true }],
  ['split, in order', { packed: false, inOrder: true }],
  ['packed', { packed: true }],
  ['packed, indirect, event index', { packed: true, indirect: true, eventIdx: true }],
  ['packed, in order', { packed: true, inOrder: true }],
];

describe.each(formats)('%s', (_name, options) => {
  test('what was taken and not given back is taken first, in the same order', () => {
    const bench = new Bench(options);
    const tokens = [1, 2, 3].map((byte) => bench.driver.add([Uint8Array.of(byte)], [1]));
    bench.driver.kick();
    const first = bench.queue();
    for (let i = 0; i < 2; i += 1) first.pop();

    const second = bench.queue();
    for (const byte of [1, 2, 3]) {
      const chain = second.pop();
      expect(chain?.readU8(0)).toBe(byte);
      second.push(chain?.head as number, 0);
    }
    expect(second.pop()).toBeUndefined();
    second.flush();
    expect(bench.driver.used().map(({ token }) => token)).toEqual(tokens);
  });

  test('an interrupt that may have been lost is sent', () => {
    const bench = new Bench(options);
    bench.driver.add([Uint8Array.of(1)], [1]);
    bench.driver.kick();
    const first = bench.queue({ call: -1 });
    first.push(first.pop()?.head as number, 0);
    first.flush();
    const second = bench.queue();
    expect(second.flush()).toBe(true);
    expect(bench.driver.interrupted()).toBe(true);
    expect(second.flush()).toBe(false);
  });

  /** Five requests, one after the other. */
  const serveFive = (bench: Bench, queue: Virtqueue): void => {
    for (let i = 0; i < 5; i += 1) {
      bench.driver.add([Uint8Array.of(i)], [1]);
      bench.driver.kick();
      queue.push(queue.pop()?.head as number, 0);
      queue.flush();
      expect(bench.driver.used()).toHaveLength(1);
    }
  };

  test('a back end that has lost its front end goes on where it was, whatever the base', () => {
    const bench = new Bench(options);
    const first = bench.queue();
    serveFive(bench, first);
    first.stop();
    serveFive(bench, bench.queue());
  });

  test('after the base was told, it counts', () => {
    const bench = new Bench(options);
    const first = bench.queue();
    serveFive(bench, first);
    const base = first.stop();
    InflightRegion.queue(bench.region, 0, 0, SIZE, options.packed === true).forget();
    serveFive(bench, bench.queue({ base }));

    // As after a reset of this queue: the ring is new.
    bench.driver[Symbol.dispose]();
    InflightRegion.queue(bench.region, 0, 0, SIZE, options.packed === true).forget();
    const driver = createDriverQueue(bench.ram, { size: SIZE, ...options });
    open.push(driver);
    const inflight = InflightRegion.queue(bench.region, 0, 0, SIZE, options.packed === true);
    const queue = createVirtqueue(driver.setup({ inflight }));
    driver.add([Uint8Array.of(9)], [1]);
    driver.kick();
    expect(queue.pop()?.readU8(0)).toBe(9);
  });

  test('after the end nothing is written any more', () => {
    const bench = new Bench(options);
    bench.driver.add([Uint8Array.of(1)], [1]);
    bench.driver.add([Uint8Array.of(2)], [1]);
    bench.driver.kick();
    const queue = bench.queue();
    const head = queue.pop()?.head as number;
    queue.stop();
    const before = bench.ram.bytes(0x1000, 0x2000).slice();
    queue.push(head, 0);
    expect([queue.flush(), queue.pop(), queue.enableNotifications()]).toEqual([false, undefined, true]);
    queue.disableNotifications();
    expect(bench.ram.bytes(0x1000, 0x2000)).toEqual(before);
    const next = bench.queue();
    expect([next.pop()?.readU8(0), next.pop()?.readU8(0)]).toEqual([1, 2]);
  });

  test('each chain is completed once, wherever the back ends are killed', () => {
    const run = fc.record({
      crashes: fc.array(fc.nat({ max: 120 }), { maxLength: 6 }),
      choices: fc.array(fc.nat({ max: 1000 }), { minLength: 5, maxLength: 40 }),
    });
    fc.assert(
      fc.property(run, ({ crashes, choices }) => killAgainAndAgain(options, crashes, choices)),
      { numRuns: 150 },
    );
  });
});

/** 25 requests, and back ends that each live for a number of stores. Each request has its own byte, and gets it back. */
function killAgainAndAgain(options: DriverOptions, crashes: readonly number[], choices: readonly number[]): void {
  const bench = new Bench(options);
  let at = 0;
  let last = false;
  /** As much as there is, in the last life. */
  const choose = (below: number): number => {
    if (last) return below - 1;
    at += 1;
    return (choices[at % choices.length] as number) % below;
  };
  const expected = new Map<number, number>();
  let added = 0;
  let done = 0;
  const drive = (): void => {
    for (const { token, data } of bench.driver.used()) {
      expect(data).toEqual(Uint8Array.of(expected.get(token) as number));
      expected.delete(token);
      done += 1;
    }
    for (let i = choose(4); i > 0 && added < 25; i -= 1) {
      const token = bench.driver.add([Uint8Array.of(added), new Uint8Array(choose(2))], [1]);
      if (token < 0) break;
      expected.set(token, added);
      added += 1;
    }
    bench.driver.kick();
  };
  const serve = (): void => {
    const queue = bench.queue();
    const held: number[] = [];
    for (let turn = 0; turn < 1000 && done < 25; turn += 1) {
      drive();
      for (let i = choose(4); i > 0; i -= 1) {
        const chain = queue.pop();
        if (chain === undefined) break;
        chain.writeU8(0, chain.readU8(0));
        held.push(chain.head);
      }
      for (let i = choose(4); i > 0 && held.length > 0; i -= 1)
        queue.push(held.splice(choose(held.length), 1)[0] as number, 1);
      if (choose(3) > 0) queue.flush();
      expect(queue.broken).toBeUndefined();
      expect(queue.stats.refused).toBe(0);
    }
  };
  for (const stores of [...crashes, Number.POSITIVE_INFINITY]) {
    last = stores === Number.POSITIVE_INFINITY;
    try {
      crashAtStore(stores, serve);
    } catch (e) {
      if (!(e instanceof Crashed)) throw e;
    }
  }
  expect(done).toBe(25);
  expect(expected.size).toBe(0);
  for (const one of open.splice(0).reverse()) one[Symbol.dispose]();
}
