// Rings against a model: lists of chains that wait, are with the device, and are done.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DriverOptions, DriverQueue } from '../testing/virtio/driver.ts';
import { createDriverQueue } from '../testing/virtio/driver-queue.ts';
import { createGuestRam } from '../testing/virtio/guest-ram.ts';
import { createVirtqueue, type Virtqueue } from './virtqueue.ts';

interface ModelChain {
  readonly token: number;
  readonly readable: readonly Uint8Array[];
  readonly writable: readonly number[];
  answer: Uint8Array;
}

type Step =
  | { readonly do: 'add'; readonly readable: readonly number[]; readonly writable: readonly number[] }
  | { readonly do: 'kick' | 'flush' | 'collect' | 'sleep' | 'work' | 'armInterrupts' | 'disarmInterrupts' }
  | { readonly do: 'pop'; readonly count: number }
  | { readonly do: 'push'; readonly which: number; readonly written: number };

const lengths = fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 3 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('add' as const), readable: lengths, writable: lengths }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom('kick', 'flush', 'collect', 'sleep', 'work', 'armInterrupts', 'disarmInterrupts'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('pop' as const), count: fc.integer({ min: 1, max: 5 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('push' as const),
      which: fc.nat(),
      written: fc.integer({ min: 0, max: 120 }),
    }),
  },
);

/** A chain with the device. */
interface Taken {
  readonly chain: ModelChain;
  readonly head: number;
  pushed: boolean;
}

/** Where everything is, and what each side was promised. */
class Model {
  readonly #driver: DriverQueue;
  readonly #queue: Virtqueue;
  readonly #inOrder: boolean;
  #serial = 0;
  readonly #added: ModelChain[] = [];
  readonly #available: ModelChain[] = [];
  /** As they were taken. */
  readonly #taken: Taken[] = [];
  readonly #pushed: ModelChain[] = [];
  readonly #used: ModelChain[] = [];
  #deviceSleeps = false;
  #interruptWanted = false;

  constructor(driver: DriverQueue, queue: Virtqueue, inOrder: boolean) {
    this.#driver = driver;
    this.#queue = queue;
    this.#inOrder = inOrder;
  }

  run(step: Step): void {
    switch (step.do) {
      case 'add':
        return this.#add(step.readable, step.writable);
      case 'kick':
        return this.#kick();
      case 'pop':
        for (let i = 0; i < step.count; i += 1) this.#pop();
        return;
      case 'push':
        return this.#push(step.which, step.written);
      case 'flush':
        return this.#flush();
      case 'collect':
        return this.#collect();
      case 'sleep':
        this.#deviceSleeps = this.#queue.enableNotifications();
        // What is not published may be seen early (packed rings), but what is published must be seen.
        if (this.#available.length > 0) expect(this.#deviceSleeps).toBe(false);
        return;
      case 'work':
        this.#deviceSleeps = false;
        return this.#queue.disableNotifications();
      case 'armInterrupts':
        this.#interruptWanted = this.#driver.enableInterrupts();
        expect(this.#interruptWanted).toBe(this.#used.length === 0);
        return;
      case 'disarmInterrupts':
        this.#interruptWanted = false;
        return this.#driver.disableInterrupts();
    }
  }

  #add(readable: readonly number[], writable: readonly number[]): void {
    if (readable.length + writable.length === 0) return;
    const bytes = readable.map((length) => Uint8Array.from({ length }, () => this.#serial++ & 0xff));
    const token = this.#driver.add(bytes, writable);
    if (token >= 0) this.#added.push({ token, readable: bytes, writable, answer: new Uint8Array(0) });
  }

  #kick(): void {
    const news = this.#added.length > 0;
    this.#available.push(...this.#added.splice(0));
    const kicked = this.#driver.kick();
    if (news && this.#deviceSleeps) expect(kicked).toBe(true);
    if (kicked) this.#deviceSleeps = false;
  }

  #pop(): void {
    const chain = this.#queue.pop();
    if (chain === undefined) {
      expect(this.#available).toEqual([]);
      return;
    }
    const expected = this.#available.shift() ?? this.#added.shift();
    if (expected === undefined) throw new Error('a chain that nobody made available');
    const sizes = [...expected.readable.map((bytes) => bytes.length), ...expected.writable].filter((size) => size > 0);
    expect([...chain.length.subarray(0, chain.count)]).toEqual(sizes);
    expect(chain.readable).toBe(expected.readable.filter((bytes) => bytes.length > 0).length);
    const bytes = new Uint8Array(chain.readableBytes);
    chain.read(bytes);
    expect(Buffer.from(bytes)).toEqual(Buffer.concat(expected.readable));
    expected.answer = Uint8Array.from({ length: chain.writableBytes }, () => this.#serial++ & 0xff);
    chain.write(expected.answer);
    this.#taken.push({ chain: expected, head: chain.head, pushed: false });
  }

  #push(which: number, written: number): void {
    const waiting = this.#taken.filter((one) => !one.pushed);
    const one = waiting[which % Math.max(1, waiting.length)];
    if (one === undefined) return;
    one.chain.answer = one.chain.answer.subarray(0, written);
    one.pushed = true;
    this.#queue.push(one.head, one.chain.answer.length);
    expect(() => this.#queue.push(one.head, 0)).toThrow('not outstanding');
    if (!this.#inOrder) {
      this.#taken.splice(this.#taken.indexOf(one), 1);
      this.#pushed.push(one.chain);
      return;
    }
    while (this.#taken[0]?.pushed === true) this.#pushed.push((this.#taken.shift() as Taken).chain);
  }

  #flush(): void {
    const news = this.#pushed.length > 0;
    this.#used.push(...this.#pushed.splice(0));
    const interrupted = this.#queue.flush();
    if (!news) expect(interrupted).toBe(false);
    if (news && this.#interruptWanted) expect(interrupted).toBe(true);
    if (interrupted) this.#interruptWanted = false;
    expect(this.#driver.interrupted()).toBe(interrupted);
  }

  #collect(): void {
    const completions = this.#driver.used();
    expect(completions.map(({ token, data }) => ({ token, data: Buffer.from(data) }))).toEqual(
      this.#used.splice(0).map(({ token, answer }) => ({ token, data: Buffer.from(answer) })),
    );
  }

  /** Everything comes to its end. */
  drain(): void {
    this.#kick();
    for (let i = 0; i < 64 && this.#queue.outstanding + this.#available.length > 0; i += 1) {
      if (this.#available.length > 0) this.#pop();
      this.#push(0, 1000);
    }
    this.#flush();
    this.#collect();
    expect(this.#driver.outstanding).toBe(0);
    expect(this.#queue.outstanding).toBe(0);
    expect(this.#queue.stats.refused).toBe(0);
    expect(this.#queue.broken).toBeUndefined();
  }
}

const rings: DriverOptions[] = [];
for (const packed of [false, true])
  for (const indirect of [false, true])
    for (const eventIdx of [false, true])
      for (const inOrder of [false, true]) rings.push({ packed, indirect, eventIdx, inOrder, size: packed ? 7 : 8 });

describe('a ring does what its model does', () => {
  test.each(rings)('%o', (options) => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 120 }), (steps) => {
        using ram = createGuestRam(1 << 17);
        using driver = createDriverQueue(ram, options);
        const queue = createVirtqueue(driver.setup());
        const model = new Model(driver, queue, options.inOrder === true);
        for (const one of steps) model.run(one);
        model.drain();
        expect(ram.intact).toBe(true);
      }),
      { numRuns: 40 },
    );
  });
});
