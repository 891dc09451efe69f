// Frames into buffers of the guest. A frame that needs more buffers than there are keeps those that it has got, and waits.

import { copyMemory } from '@runtime/sdk/linux';
import type { Chain, Virtqueue } from '@runtime/sdk/virtio';
import type { Port } from './port.ts';
import { HEADER_BYTES, NUM_BUFFERS_AT } from './protocol.ts';
import type { NetStats } from './stats.ts';

/** Buffers for one frame; a driver that gives smaller ones than 64 bytes does not get long frames. */
const MAX_BUFFERS = 1024;

export const Delivery = { done: 0, starved: 1, refused: 2 } as const;

export class RxQueue {
  /** Buffers of any size may be put together, VIRTIO_NET_F_MRG_RXBUF. */
  mergeable = false;
  readonly #stats: NetStats;
  readonly #heads = new Uint32Array(MAX_BUFFERS);
  readonly #written = new Uint32Array(MAX_BUFFERS);
  #count = 0;
  /** Bytes of the frame that are in the buffers. */
  #done = 0;
  /** Addresses of the two bytes of num_buffers, in the first buffer. */
  #lowAddress = 0;
  #highAddress = 0;

  constructor(stats: NetStats) {
    this.#stats = stats;
  }

  /** Puts the last frame of the port, `length` bytes with its header, into buffers; to be called again when starved. */
  deliver(queue: Virtqueue, port: Port, length: number): number {
    while (this.#done < length) {
      const chain = queue.pop();
      if (chain === undefined) return Delivery.starved;
      const isTooSmall = chain.writableBytes < (this.mergeable ? HEADER_BYTES : length);
      if (isTooSmall && this.#count === 0) {
        queue.push(chain.head, 0);
        if (this.mergeable) continue;
        return Delivery.refused;
      }
      this.#take(chain, port, length);
      if (this.#count === MAX_BUFFERS && this.#done < length) {
        this.giveBack(queue);
        return Delivery.refused;
      }
    }
    this.#finish(queue, port);
    this.#stats.rxFrames += 1;
    this.#stats.rxBytes += length - HEADER_BYTES;
    return Delivery.done;
  }

  #take(chain: Chain, port: Port, length: number): void {
    if (this.#count === 0) {
      this.#lowAddress = writableAddress(chain, NUM_BUFFERS_AT);
      this.#highAddress = writableAddress(chain, NUM_BUFFERS_AT + 1);
    }
    const source = port.address + port.at;
    const before = this.#done;
    for (let i = chain.readable; i < chain.count && this.#done < length; i++) {
      const bytes = Math.min(chain.length[i] as number, length - this.#done);
      // ABI: memmove(3) from memory of ours to checked guest memory.
      copyMemory(chain.address[i] as number, source + this.#done, bytes);
      this.#done += bytes;
    }
    this.#heads[this.#count] = chain.head;
    this.#written[this.#count] = this.#done - before;
    this.#count += 1;
  }

  #finish(queue: Virtqueue, port: Port): void {
    if (this.#count > 1) {
      const at = port.at + NUM_BUFFERS_AT;
      port.bytes[at] = this.#count;
      port.bytes[at + 1] = this.#count >>> 8;
      copyMemory(this.#lowAddress, port.address + at, 1);
      copyMemory(this.#highAddress, port.address + at + 1, 1);
    }
    for (let i = 0; i < this.#count; i++) queue.push(this.#heads[i] as number, this.#written[i] as number);
    this.#count = 0;
    this.#done = 0;
  }

  /** Buffers of a frame that is not finished go back unused; it can be delivered anew. */
  giveBack(queue: Virtqueue): void {
    for (let i = 0; i < this.#count; i++) queue.push(this.#heads[i] as number, 0);
    this.forget();
  }

  /** The queue has gone with all its buffers. */
  forget(): void {
    this.#count = 0;
    this.#done = 0;
  }
}

/** Host address of byte `at` of the writable part, which has as many. */
function writableAddress(chain: Chain, at: number): number {
  let from = at;
  for (let i = chain.readable; i < chain.count; i++) {
    const length = chain.length[i] as number;
    if (from < length) return (chain.address[i] as number) + from;
    from -= length;
  }
  return 0;
}
