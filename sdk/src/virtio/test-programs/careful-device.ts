// A device that does something with each chain, and checks that what it was given is memory of the guest.

import { expect } from 'vitest';
import type { Random } from '../../testing/virtio/front-end-hostile.ts';
import type { Chain } from '../chain.ts';
import type { GuestMemory } from '../guest-memory.ts';
import type { Virtqueue } from '../virtqueue.ts';

/** Chains in one turn at most: a guest can have its own buffers lie over the available ring, which then never ends. */
const TURN = 64;
/** Bytes copied for one chain at most. */
const COPY = 4096;

export class CarefulDevice {
  readonly #queue: Virtqueue;
  readonly #memory: GuestMemory;
  readonly #random: Random;
  readonly #held: { readonly head: number; readonly room: number }[] = [];

  constructor(queue: Virtqueue, memory: GuestMemory, random: Random) {
    this.#queue = queue;
    this.#memory = memory;
    this.#random = random;
  }

  turn(): void {
    const queue = this.#queue;
    queue.disableNotifications();
    for (let i = 0; i < TURN; i += 1) {
      const chain = queue.pop();
      if (chain === undefined) break;
      checkChain(chain, this.#memory);
      const bytes = new Uint8Array(Math.min(chain.readableBytes, COPY));
      chain.read(bytes);
      chain.readU64(this.#random(40));
      chain.write(bytes);
      chain.writeU32(chain.writableBytes - 4, 0xdead_beef);
      this.#held.push({ head: chain.head, room: chain.writableBytes });
    }
    while (this.#held.length > 0 && this.#random(4) > 0) {
      const [one] = this.#held.splice(this.#random(this.#held.length), 1);
      if (one !== undefined) queue.push(one.head, this.#random(2) * one.room);
    }
    expect(queue.outstanding).toBe(this.#held.length);
    expect(queue.outstanding).toBeLessThanOrEqual(queue.size);
    queue.flush();
    queue.enableNotifications();
  }
}

export function checkChain(chain: Chain, memory: GuestMemory): void {
  let readable = 0;
  let writable = 0;
  expect(chain.readable).toBeLessThanOrEqual(chain.count);
  for (let i = 0; i < chain.count; i += 1) {
    const guest = chain.guest[i] as number;
    const length = chain.length[i] as number;
    const region = memory.regions.find(
      (one) => guest >= one.guestAddress && guest + length <= one.guestAddress + one.size,
    );
    // Compared by hand: expect() is slow.
    if (region === undefined || region !== chain.region[i] || length === 0) throw new Error(`segment ${i} is nowhere`);
    if (chain.address[i] !== region.hostAddress + (guest - region.guestAddress))
      throw new Error(`segment ${i} is elsewhere`);
    if (i < chain.readable) readable += length;
    else writable += length;
  }
  expect(chain.readableBytes).toBe(readable);
  expect(chain.writableBytes).toBe(writable);
}
