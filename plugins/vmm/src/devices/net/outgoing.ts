// Memory for what is on its way to the host: iovecs that name guest memory, and a copy of the rest of a frame that the
// host did not take, so that no buffer of the guest waits for the host.

import { type Mapping, mapAnonymous } from '@runtime/sdk/linux';
import { MAX_FRAME } from './protocol.ts';

/** What writev(2) takes (IOV_MAX). */
export const MAX_IOVECS = 1024;
const IOVEC_BYTES = 16;
/** struct msghdr, 64-bit: name, namelen, iov at 16, iovlen at 24, control, controllen, flags at 48. */
const MSGHDR_BYTES = 56;
const MSGHDR_IOV = 16;
const MSGHDR_IOVLEN = 24;
/** A header or a length in front of a frame. */
export const PREFIX_BYTES = 16;
const TWO_32 = 2 ** 32;

export class Outgoing implements Disposable {
  /** struct iovec[MAX_IOVECS] as words. */
  readonly iovecs: Uint32Array;
  readonly iovecsAddress: number;
  /** struct msghdr that names the iovecs. */
  readonly messageAddress: number;
  /** For what stands in front of a frame; PREFIX_BYTES. */
  readonly prefix: Uint8Array;
  readonly prefixAddress: number;
  /** What the host is still owed: bytes `owedFrom` to `owedTo`. */
  readonly owed: Uint8Array;
  owedFrom = 0;
  owedTo = 0;
  readonly #owedAddress: number;
  readonly #message: Uint32Array;
  readonly #mapping: Mapping;

  constructor() {
    const messageAt = MAX_IOVECS * IOVEC_BYTES;
    const prefixAt = messageAt + 64;
    const owedAt = prefixAt + PREFIX_BYTES;
    const owedBytes = PREFIX_BYTES + MAX_FRAME;
    this.#mapping = mapAnonymous(owedAt + owedBytes);
    const { address, buffer } = this.#mapping;
    this.iovecs = new Uint32Array(buffer, 0, MAX_IOVECS * (IOVEC_BYTES / 4));
    this.iovecsAddress = address;
    this.messageAddress = address + messageAt;
    this.prefix = new Uint8Array(buffer, prefixAt, PREFIX_BYTES);
    this.prefixAddress = address + prefixAt;
    this.owed = new Uint8Array(buffer, owedAt, owedBytes);
    this.#owedAddress = address + owedAt;
    this.#message = new Uint32Array(buffer, messageAt, MSGHDR_BYTES / 4);
    this.#message[MSGHDR_IOV / 4] = address >>> 0;
    this.#message[MSGHDR_IOV / 4 + 1] = Math.floor(address / TWO_32);
  }

  setIovec(index: number, address: number, length: number): void {
    const at = index * 4;
    this.iovecs[at] = address >>> 0;
    this.iovecs[at + 1] = Math.floor(address / TWO_32);
    this.iovecs[at + 2] = length;
    this.iovecs[at + 3] = 0;
  }

  setIovecCount(count: number): void {
    this.#message[MSGHDR_IOVLEN / 4] = count;
  }

  get owedAddress(): number {
    return this.#owedAddress + this.owedFrom;
  }

  get owedBytes(): number {
    return this.owedTo - this.owedFrom;
  }

  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }
}
