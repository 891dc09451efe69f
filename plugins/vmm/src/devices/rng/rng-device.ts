// Fills what the driver makes available with random bytes.

import { fillRandom } from '@runtime/sdk/linux';
import type { Chain, DeviceContext, DeviceInstance, DeviceStats, Virtqueue } from '@runtime/sdk/virtio';

/** A driver asks for tens of bytes; one that offers more is told that it got less, which it must expect. */
const MAX_REQUEST = 64 * 1024;
/** Bytes made in one go; enough for many requests. */
const POOL_BYTES = 4096;
/** For one turn: about 1 ms of the kernel's generator. The loop comes back for the rest. */
const TURN_BYTES = 256 * 1024;

interface RngStats extends DeviceStats {
  requests: number;
  bytes: number;
}

export class RngDevice implements DeviceInstance<undefined> {
  readonly #stats: RngStats;
  /** Zeroed as it is given away, so that no bytes are given twice or found later. */
  readonly #pool = new Uint8Array(POOL_BYTES);
  #left = 0;

  constructor({ stats }: DeviceContext<unknown, undefined>) {
    this.#stats = Object.assign(stats, { requests: 0, bytes: 0, ...stats });
  }

  process(queue: Virtqueue): void {
    for (let budget = TURN_BYTES; budget > 0; ) {
      const chain = queue.pop();
      if (chain === undefined) return;
      const written = this.#fill(chain);
      queue.push(chain.head, written);
      this.#stats.requests += 1;
      this.#stats.bytes += written;
      // An empty request costs something too.
      budget -= Math.max(written, 64);
    }
  }

  #fill(chain: Chain): number {
    const wanted = Math.min(chain.writableBytes, MAX_REQUEST);
    let done = 0;
    while (done < wanted) {
      if (this.#left === 0) {
        fillRandom(this.#pool);
        this.#left = POOL_BYTES;
      }
      const from = POOL_BYTES - this.#left;
      const bytes = this.#pool.subarray(from, from + Math.min(this.#left, wanted - done));
      done += chain.write(bytes, done);
      this.#left -= bytes.length;
      bytes.fill(0);
    }
    return done;
  }
}
