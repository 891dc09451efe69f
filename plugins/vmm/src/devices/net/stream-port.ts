// Frames through a stream socket, each with its length in front: four bytes, the highest first. So speak passt and QEMU's
// `-netdev stream`. A frame has no virtio header there.

import { ERRNO, type Mapping, MSG, mapAnonymous, rawRecv, rawSend, rawSendmsg } from '@runtime/sdk/linux';
import type { Chain } from '@runtime/sdk/virtio';
import { MAX_IOVECS, Outgoing } from './outgoing.ts';
import { GONE, NOTHING, type Port } from './port.ts';
import { HEADER_BYTES, MAX_FRAME, MIN_FRAME, NUM_BUFFERS_AT } from './protocol.ts';
import type { NetStats } from './stats.ts';

const LENGTH_BYTES = 4;
/**
 * Room for the header of the first frame in the buffer. That of others is written over what stands before them: their
 * own length and frames that are done.
 */
const FRONT_BYTES = HEADER_BYTES - LENGTH_BYTES;
/** Many small frames in one call; at least one of the longest. */
const BUFFER_BYTES = 256 * 1024;
/** passt ends a connection over a frame that a length of 16 bits cannot tell. */
const MAX_SENT = 65_535;
const MAX_SKIPPED = 16;

/** What a stream was in the middle of, for the code that goes on with it. */
export interface StreamState {
  readonly received: Uint8Array;
  readonly owed: Uint8Array;
}

export class StreamPort implements Port {
  readonly fd: number;
  readonly bytes: Uint8Array;
  readonly address: number;
  at = 0;
  readonly #stats: NetStats;
  readonly #incoming: Mapping;
  readonly #outgoing = new Outgoing();
  /** What was received and not given out: bytes `#from` to `#to`. */
  #from = FRONT_BYTES;
  #to = FRONT_BYTES;
  #gone = false;

  constructor(fd: number, stats: NetStats, previous?: StreamState) {
    this.fd = fd;
    this.#stats = stats;
    this.#incoming = mapAnonymous(BUFFER_BYTES);
    this.bytes = new Uint8Array(this.#incoming.buffer);
    this.address = this.#incoming.address;
    if (previous === undefined) return;
    this.bytes.set(previous.received, FRONT_BYTES);
    this.#to += previous.received.length;
    this.#outgoing.owed.set(previous.owed);
    this.#outgoing.owedTo = previous.owed.length;
  }

  get isFull(): boolean {
    return this.#outgoing.owedBytes > 0;
  }

  /** Also frames that `receive` has given out last, when `pending`. */
  state(pending: number): StreamState {
    const { owed, owedFrom, owedTo } = this.#outgoing;
    const rest = this.bytes.slice(this.#from, this.#to);
    if (pending === 0) return { received: rest, owed: owed.slice(owedFrom, owedTo) };
    const length = pending - HEADER_BYTES;
    const received = new Uint8Array(LENGTH_BYTES + length + rest.length);
    new DataView(received.buffer).setUint32(0, length);
    received.set(this.bytes.subarray(this.at + HEADER_BYTES, this.at + pending), LENGTH_BYTES);
    received.set(rest, LENGTH_BYTES + length);
    return { received, owed: owed.slice(owedFrom, owedTo) };
  }

  receive(): number {
    if (this.#gone) return GONE;
    for (let skipped = 0; skipped < MAX_SKIPPED; ) {
      const length = this.#next();
      if (length === NOTHING) {
        const result = this.#fill();
        if (result !== 1) return result;
        continue;
      }
      if (length >= MIN_FRAME) return length + HEADER_BYTES;
      if (length === GONE) return GONE;
      this.#stats.rxMalformed += 1;
      skipped += 1;
    }
    return NOTHING;
  }

  /** Length of the next frame that is there entirely. NOTHING: it is not. */
  #next(): number {
    const { bytes } = this;
    const from = this.#from;
    const available = this.#to - from - LENGTH_BYTES;
    if (available < 0) return NOTHING;
    const high = ((bytes[from] as number) << 8) | (bytes[from + 1] as number);
    const low = ((bytes[from + 2] as number) << 8) | (bytes[from + 3] as number);
    const length = high * 0x1_0000 + low;
    // Nothing after it can be believed.
    if (length > MAX_FRAME) return this.#lost();
    if (available < length) return NOTHING;
    this.#from = from + LENGTH_BYTES + length;
    // Of no length: skipped as one that is too short, which NOTHING would not be.
    if (length < MIN_FRAME) return 1;
    const at = from + LENGTH_BYTES - HEADER_BYTES;
    for (let i = 0; i < HEADER_BYTES; i++) bytes[at + i] = 0;
    bytes[at + NUM_BUFFERS_AT] = 1;
    this.at = at;
    return length;
  }

  #lost(): typeof GONE {
    this.#stats.rxMalformed += 1;
    this.#gone = true;
    return GONE;
  }

  /** 1 when something was received. */
  #fill(): number {
    if (this.#from > FRONT_BYTES) {
      // At most one frame that is not there entirely: the rest was given out.
      this.bytes.copyWithin(FRONT_BYTES, this.#from, this.#to);
      this.#to -= this.#from - FRONT_BYTES;
      this.#from = FRONT_BYTES;
    }
    // ABI: recv(2) writes to memory of ours.
    const result = rawRecv(this.fd, this.address + this.#to, BUFFER_BYTES - this.#to, MSG.dontwait);
    if (result > 0) {
      this.#to += result;
      return 1;
    }
    if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) return NOTHING;
    this.#gone = true;
    return GONE;
  }

  send(chain: Chain): void {
    const length = chain.readableBytes - HEADER_BYTES;
    const out = this.#outgoing;
    if (length > MAX_SENT) {
      this.#stats.txMalformed += 1;
      return;
    }
    const count = chain.iovecs('readable', HEADER_BYTES, length, out.iovecs, 4);
    if (count < 1 || count >= MAX_IOVECS) {
      this.#stats.txDropped += 1;
      return;
    }
    writeLength(out.prefix, length);
    out.setIovec(0, out.prefixAddress, LENGTH_BYTES);
    out.setIovecCount(count + 1);
    // ABI: sendmsg(2) reads our prefix and checked guest memory during the call.
    const result = rawSendmsg(this.fd, out.messageAddress, MSG.dontwait | MSG.nosignal);
    const sent = result === -ERRNO.EAGAIN || result === -ERRNO.EINTR ? 0 : result;
    if (sent < 0) {
      this.#gone = true;
      this.#stats.txDropped += 1;
      return;
    }
    this.#stats.txFrames += 1;
    this.#stats.txBytes += length;
    if (sent < LENGTH_BYTES + length) this.#owe(chain, sent, length);
  }

  #owe(chain: Chain, sent: number, length: number): void {
    const out = this.#outgoing;
    writeLength(out.owed, length);
    chain.read(out.owed.subarray(LENGTH_BYTES, LENGTH_BYTES + length), HEADER_BYTES);
    out.owedFrom = sent;
    out.owedTo = LENGTH_BYTES + length;
    this.#stats.txFull += 1;
  }

  drain(): void {
    const out = this.#outgoing;
    if (out.owedBytes === 0) return;
    const result = rawSend(this.fd, out.owedAddress, out.owedBytes, MSG.dontwait | MSG.nosignal);
    if (result > 0) out.owedFrom += result;
    else if (result !== -ERRNO.EAGAIN && result !== -ERRNO.EINTR) {
      this.#gone = true;
      out.owedFrom = out.owedTo;
    }
  }

  [Symbol.dispose](): void {
    this.#incoming[Symbol.dispose]();
    this.#outgoing[Symbol.dispose]();
  }
}

function writeLength(bytes: Uint8Array, length: number): void {
  bytes[0] = 0;
  bytes[1] = length >>> 16;
  bytes[2] = length >>> 8;
  bytes[3] = length;
}
