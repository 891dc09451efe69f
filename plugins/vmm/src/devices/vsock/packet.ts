// The header of every packet: struct virtio_vsock_hdr, virtio 1.2 §5.10.6. It is copied out of guest memory once, so that
// what was checked is what is used. All machines we run on are little-endian, like the header.

import type { Chain } from '@runtime/sdk/virtio';

/** Bytes. */
export const HEADER_BYTES = 44;

/** §5.10.6 */
export const OP = {
  request: 1,
  response: 2,
  rst: 3,
  shutdown: 4,
  rw: 5,
  creditUpdate: 6,
  creditRequest: 7,
} as const;

/** §5.10.6.2: the only type without VIRTIO_VSOCK_F_SEQPACKET. */
export const TYPE_STREAM = 1;

/** Flags of a shutdown, §5.10.6.6: what the sender of the packet does no more. They add up over packets. */
export const SHUTDOWN = { receive: 1, send: 2, both: 3 } as const;

/** The host's CID, as every guest knows it. */
export const HOST_CID = 2;

/** VMADDR_PORT_ANY and VMADDR_CID_ANY of vsock(7). */
export const ANY = 0xffff_ffff;

/** One header; reused for each packet of a direction. All fields are u32, except type and op (u16). */
export class PacketHeader {
  readonly #words = new Uint32Array(HEADER_BYTES / 4);
  readonly #bytes = new Uint8Array(this.#words.buffer);

  /** False when the chain is shorter than a header. */
  readFrom(chain: Chain): boolean {
    return chain.read(this.#bytes) === HEADER_BYTES;
  }

  /** False when the chain has no room for it. */
  writeTo(chain: Chain): boolean {
    return chain.write(this.#bytes) === HEADER_BYTES;
  }

  /** NaN for one that no CID can be: the upper half is reserved and zero. */
  get sourceCid(): number {
    return this.#cid(0);
  }
  get destinationCid(): number {
    return this.#cid(2);
  }
  get sourcePort(): number {
    return this.#words[4] as number;
  }
  get destinationPort(): number {
    return this.#words[5] as number;
  }
  /** Bytes of payload that the sender says follow. */
  get length(): number {
    return this.#words[6] as number;
  }
  get type(): number {
    return (this.#words[7] as number) & 0xffff;
  }
  get op(): number {
    return (this.#words[7] as number) >>> 16;
  }
  get flags(): number {
    return this.#words[8] as number;
  }
  get bufAlloc(): number {
    return this.#words[9] as number;
  }
  get forwarded(): number {
    return this.#words[10] as number;
  }

  setCids(source: number, destination: number): void {
    const words = this.#words;
    words[0] = source;
    words[1] = 0;
    words[2] = destination;
    words[3] = 0;
  }
  setPorts(source: number, destination: number): void {
    this.#words[4] = source;
    this.#words[5] = destination;
  }
  setPacket(op: number, length: number, flags: number, type: number = TYPE_STREAM): void {
    const words = this.#words;
    words[6] = length;
    words[7] = (type | (op << 16)) >>> 0;
    words[8] = flags;
  }
  setCredit(bufAlloc: number, forwarded: number): void {
    this.#words[9] = bufAlloc;
    this.#words[10] = forwarded;
  }

  #cid(word: number): number {
    return this.#words[word + 1] === 0 ? (this.#words[word] as number) : Number.NaN;
  }
}
