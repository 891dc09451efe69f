// Between guest memory and the sockets of the host, without a copy through the heap: the kernel reads and writes the
// segments of a chain where they are. The sockets may be blocking ones of somebody else; nothing here ever waits.

import { ERRNO, type Mapping, MSG, mapAnonymous, rawRecv, rawRecvmsg, rawSend, rawSendmsg } from '@runtime/sdk/linux';
import type { Chain } from '@runtime/sdk/virtio';
import type { ByteRing } from './byte-ring.ts';
import { HEADER_BYTES } from './packet.ts';

/** What readv(2) takes at most (IOV_MAX), and segments that a chain has at most. */
const MAX_IOVECS = 1024;
const IOVEC_WORDS = 4;
const IOVEC_BYTES = 16;
/** struct msghdr, 64-bit: name, namelen, iov at 16, iovlen at 24, control, controllen, flags at 48. */
const MSGHDR_BYTES = 56;
const MSGHDR_IOV = 16;
const MSGHDR_IOVLEN = 24;
/** Held bytes that one call passes on at most. */
const BOUNCE_BYTES = 64 * 1024;
const TWO_32 = 2 ** 32;

/** All results are bytes, or −errno; see {@link isRetry}. */
export class SocketIo implements Disposable {
  readonly #mapping: Mapping;
  readonly #bounce: Uint8Array;
  readonly #bounceAddress: number;
  readonly #iovecs: Uint32Array;
  readonly #message: Uint32Array;
  readonly #messageAddress: number;

  constructor() {
    const iovecsAt = BOUNCE_BYTES;
    const messageAt = iovecsAt + MAX_IOVECS * IOVEC_BYTES;
    this.#mapping = mapAnonymous(messageAt + MSGHDR_BYTES);
    const { address, buffer } = this.#mapping;
    this.#bounce = new Uint8Array(buffer, 0, BOUNCE_BYTES);
    this.#bounceAddress = address;
    this.#iovecs = new Uint32Array(buffer, iovecsAt, MAX_IOVECS * IOVEC_WORDS);
    this.#message = new Uint32Array(buffer, messageAt, MSGHDR_BYTES / 4);
    this.#messageAddress = address + messageAt;
    this.#message[MSGHDR_IOV / 4] = (address + iovecsAt) % TWO_32;
    this.#message[MSGHDR_IOV / 4 + 1] = Math.floor((address + iovecsAt) / TWO_32);
  }

  /** Receives into the writable part of the chain, behind the place of a header. @param length at least 1 */
  receive(fd: number, chain: Chain, length: number): number {
    const first = chain.readable;
    // ABI: recv(2) and recvmsg(2) write to checked guest memory during the call.
    if (HEADER_BYTES + length <= (chain.length[first] as number))
      return rawRecv(fd, (chain.address[first] as number) + HEADER_BYTES, length, MSG.dontwait);
    if (!this.#gather(chain, 'writable', length)) return -ERRNO.EINVAL;
    return rawRecvmsg(fd, this.#messageAddress, MSG.dontwait);
  }

  /** Sends the payload of a packet: `length` bytes of the readable part, behind the header. */
  send(fd: number, chain: Chain, length: number): number {
    const flags = MSG.dontwait | MSG.nosignal;
    // ABI: send(2) and sendmsg(2) read checked guest memory during the call.
    if (HEADER_BYTES + length <= (chain.length[0] as number))
      return rawSend(fd, (chain.address[0] as number) + HEADER_BYTES, length, flags);
    if (!this.#gather(chain, 'readable', length)) return -ERRNO.EINVAL;
    return rawSendmsg(fd, this.#messageAddress, flags);
  }

  /** Sends the oldest bytes of the ring, which keeps them. */
  sendHeld(fd: number, ring: ByteRing): number {
    return this.#sendBounced(fd, ring.peek(this.#bounce));
  }

  /** @param bytes at most 64 KiB */
  sendBytes(fd: number, bytes: Uint8Array): number {
    this.#bounce.set(bytes);
    return this.#sendBounced(fd, bytes.length);
  }

  /** The next byte of a socket; −errno, or `undefined` at the end. */
  receiveByte(fd: number): number | undefined {
    // ABI: recv(2) writes one byte of our own memory.
    const count = rawRecv(fd, this.#bounceAddress, 1, MSG.dontwait);
    if (count === 1) return this.#bounce[0] as number;
    return count === 0 ? undefined : count;
  }

  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }

  #sendBounced(fd: number, length: number): number {
    // ABI: send(2) reads our own memory during the call.
    return rawSend(fd, this.#bounceAddress, length, MSG.dontwait | MSG.nosignal);
  }

  #gather(chain: Chain, part: 'readable' | 'writable', length: number): boolean {
    const count = chain.iovecs(part, HEADER_BYTES, length, this.#iovecs, 0);
    if (count < 1) return false;
    this.#message[MSGHDR_IOVLEN / 4] = count;
    return true;
  }
}

/** Nothing is wrong with the socket: it has nothing, or takes nothing, at this moment. */
export function isRetry(result: number): boolean {
  return result === -ERRNO.EAGAIN || result === -ERRNO.EINTR;
}
