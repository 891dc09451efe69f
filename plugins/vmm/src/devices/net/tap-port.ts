// Frames through one queue of a tap, each with struct virtio_net_hdr in front, which passes through as it is: the kernel
// checks it as it checks that of every tap.

import { ERRNO, type Mapping, mapAnonymous, rawRead, rawWrite, rawWritev } from '@runtime/sdk/linux';
import type { Chain } from '@runtime/sdk/virtio';
import { MAX_IOVECS, Outgoing } from './outgoing.ts';
import { GONE, NOTHING, type Port } from './port.ts';
import { HEADER_BYTES, MAX_FRAME, MIN_FRAME, NUM_BUFFERS_AT } from './protocol.ts';
import type { NetStats } from './stats.ts';

const BUFFER_BYTES = HEADER_BYTES + MAX_FRAME;
/** Wrong frames skipped in one call. */
const MAX_SKIPPED = 16;

export class TapPort implements Port {
  readonly fd: number;
  readonly bytes: Uint8Array;
  readonly address: number;
  readonly at = 0;
  readonly #stats: NetStats;
  readonly #incoming: Mapping;
  readonly #outgoing = new Outgoing();

  constructor(fd: number, stats: NetStats) {
    this.fd = fd;
    this.#stats = stats;
    this.#incoming = mapAnonymous(BUFFER_BYTES);
    this.bytes = new Uint8Array(this.#incoming.buffer);
    this.address = this.#incoming.address;
  }

  get isFull(): boolean {
    return this.#outgoing.owedBytes > 0;
  }

  receive(): number {
    for (let skipped = 0; skipped < MAX_SKIPPED; skipped++) {
      const length = rawRead(this.fd, this.address, BUFFER_BYTES);
      if (length >= HEADER_BYTES + MIN_FRAME && length <= BUFFER_BYTES) {
        this.bytes[NUM_BUFFERS_AT] = 1;
        this.bytes[NUM_BUFFERS_AT + 1] = 0;
        return length;
      }
      if (length < 0) return length === -ERRNO.EAGAIN || length === -ERRNO.EINTR ? NOTHING : GONE;
      // The kernel tells the length of a frame that it had to cut.
      this.#stats.rxMalformed += 1;
    }
    return NOTHING;
  }

  send(chain: Chain): void {
    const length = chain.readableBytes;
    const result = this.#write(chain, length);
    const stats = this.#stats;
    if (result === length) {
      stats.txFrames += 1;
      stats.txBytes += length - HEADER_BYTES;
    } else if (result === -ERRNO.EAGAIN) {
      this.#outgoing.owedFrom = 0;
      this.#outgoing.owedTo = chain.read(this.#outgoing.owed.subarray(0, length));
      stats.txFull += 1;
    } else stats.txDropped += 1;
  }

  #write(chain: Chain, length: number): number {
    // ABI: write(2) and writev(2) read checked guest memory during the call.
    if (chain.readable === 1) return rawWrite(this.fd, chain.address[0] as number, length);
    const { iovecs, iovecsAddress } = this.#outgoing;
    const count = chain.iovecs('readable', 0, length, iovecs, 0);
    return count < 1 || count > MAX_IOVECS ? -ERRNO.EINVAL : rawWritev(this.fd, iovecsAddress, count);
  }

  drain(): void {
    const { owedAddress, owedBytes } = this.#outgoing;
    if (owedBytes === 0) return;
    const result = rawWrite(this.fd, owedAddress, owedBytes);
    if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) return;
    if (result === owedBytes) {
      this.#stats.txFrames += 1;
      this.#stats.txBytes += owedBytes - HEADER_BYTES;
    } else this.#stats.txDropped += 1;
    this.#outgoing.owedTo = 0;
    this.#outgoing.owedFrom = 0;
  }

  [Symbol.dispose](): void {
    this.#incoming[Symbol.dispose]();
    this.#outgoing[Symbol.dispose]();
  }
}
