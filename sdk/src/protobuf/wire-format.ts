// The bytes of protocol buffers: https://protobuf.dev/programming-guides/encoding/.

import { errors } from '../errors.ts';

export const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
export type WireType = (typeof WIRE)[keyof typeof WIRE];

const VARINT_MAX_BYTES = 10;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export const malformed = (why: string): Error => errors.SDK_ERR_PROTOBUF({ details: { why } });

export class WireReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    // Parts of a Buffer would be Buffers.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Of 64 bits; longer ones lose what is above, as everywhere. */
  varint(): bigint {
    const small = this.#shortVarint();
    if (small >= 0) return BigInt(small);
    let value = 0n;
    for (let i = 0; i < VARINT_MAX_BYTES; i++) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw malformed('a number has no end');
  }

  /** The low 32 bits of a varint, unsigned. */
  varint32(): number {
    const small = this.#shortVarint();
    return small >= 0 ? small : Number(BigInt.asUintN(32, this.varint()));
  }

  fixed32(): number {
    return this.#view.getUint32(this.#skip(4), true);
  }

  double(): number {
    return this.#view.getFloat64(this.#skip(8), true);
  }

  /** A view of what was given, not a copy. */
  bytes(): Uint8Array {
    const length = this.varint();
    if (length > BigInt(this.#bytes.length)) throw malformed(`a part of ${length} bytes lies past the end`);
    const start = this.#skip(Number(length));
    return this.#bytes.subarray(start, this.#at);
  }

  string(): string {
    try {
      return utf8.decode(this.bytes());
    } catch (e) {
      if (e instanceof TypeError) throw malformed('a string is not UTF-8');
      throw e;
    }
  }

  /** Of the next field: its number, and how long it is. */
  tag(): readonly [number: number, wireType: number] {
    const tag = this.varint();
    const number = Number(tag >> 3n);
    if (number < 1 || number > 0x1fff_ffff) throw malformed(`field ${number} cannot be`);
    return [number, Number(tag & 7n)];
  }

  skip(wireType: number): void {
    if (wireType === WIRE.varint) this.varint();
    else if (wireType === WIRE.fixed64) this.#skip(8);
    else if (wireType === WIRE.bytes) this.bytes();
    else if (wireType === WIRE.fixed32) this.#skip(4);
    else throw malformed(`wire type ${wireType} is not known`);
  }

  /** −1 and nothing taken: it has more than 28 bits. */
  #shortVarint(): number {
    let value = 0;
    for (let i = 0; i < 4; i++) {
      const byte = this.#bytes[this.#at + i];
      if (byte === undefined) break;
      value |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) {
        this.#at += i + 1;
        return value;
      }
    }
    return -1;
  }

  #byte(): number {
    const byte = this.#bytes[this.#skip(1)];
    return byte as number;
  }

  /** Where it began. */
  #skip(length: number): number {
    const start = this.#at;
    if (start + length > this.#bytes.length) throw malformed('it ends in the midst of a field');
    this.#at = start + length;
    return start;
  }
}

const INITIAL_BYTES = 256;

export class WireWriter {
  #buffer = Buffer.allocUnsafe(INITIAL_BYTES);
  #length = 0;

  tag(number: number, wireType: WireType): void {
    this.varint32(number * 8 + wireType);
  }

  /** From 0 to 2^53 − 1. */
  varint32(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
  }

  /** Modulo 2^64, so that negative numbers are those of `int64`. */
  varint(value: bigint): void {
    this.#reserve(VARINT_MAX_BYTES);
    let rest = BigInt.asUintN(64, value);
    while (rest >= 0x80n) {
      this.#buffer[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#buffer[this.#length++] = Number(rest);
  }

  fixed32(value: number): void {
    this.#reserve(4);
    this.#length = this.#buffer.writeUInt32LE(value >>> 0, this.#length);
  }

  double(value: number): void {
    this.#reserve(8);
    this.#length = this.#buffer.writeDoubleLE(value, this.#length);
  }

  /** With its length before it. */
  bytes(value: Uint8Array): void {
    this.varint32(value.length);
    this.#reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
  }

  string(value: string): void {
    const length = Buffer.byteLength(value);
    this.varint32(length);
    this.#reserve(length);
    this.#length += this.#buffer.write(value, this.#length);
  }

  finish(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#buffer.length) return;
    const next = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(next, 0, 0, this.#length);
    this.#buffer = next;
  }
}
