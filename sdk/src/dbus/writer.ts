// Values to bytes: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-marshaling

import { errors } from '../errors.ts';
import { checkName } from './names.ts';
import { parseSignature, type Type, type TypeCode } from './signature.ts';
import type { Value, Variant } from './value.ts';

/** Bytes of one array, and values within values, by the standard. */
export const ARRAY_MAX = 2 ** 26;
export const DEPTH_MAX = 64;

const INTEGERS: Readonly<Partial<Record<TypeCode, readonly [min: number, max: number]>>> = {
  y: [0, 255],
  n: [-(2 ** 15), 2 ** 15 - 1],
  q: [0, 2 ** 16 - 1],
  i: [-(2 ** 31), 2 ** 31 - 1],
  u: [0, 2 ** 32 - 1],
  h: [0, 2 ** 31 - 1],
};

/** Little-endian. */
export class Writer {
  /** In the order of their indices; the caller's. */
  readonly fds: number[] = [];
  #buffer: Buffer = Buffer.alloc(256);
  #at = 0;

  get length(): number {
    return this.#at;
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  align(to: number): void {
    this.#room(8);
    while (this.#at % to !== 0) this.#buffer[this.#at++] = 0;
  }

  bytes(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** @throws SDK_ERR_DBUS_VALUE when there are more or fewer values than types, or one does not fit its type */
  values(signature: string, values: readonly Value[]): void {
    const types = parseSignature(signature);
    if (values.length !== types.length) throw misfit(values, `${types.length} values for "${signature}"`);
    for (const [i, type] of types.entries()) this.#value(type, values[i], 0);
  }

  #value(type: Type, value: Value | undefined, depth: number): void {
    if (depth > DEPTH_MAX) throw misfit(value, 'a value: it lies too deep in others');
    this.align(type.alignment);
    switch (type.code) {
      case 'b':
        if (typeof value !== 'boolean') throw misfit(value, 'a boolean');
        return this.#u32(value ? 1 : 0);
      case 'x':
      case 't':
        return this.#big(type.code, value);
      case 'd':
        if (typeof value !== 'number') throw misfit(value, 'a number');
        this.#room(8);
        this.#at = this.#buffer.writeDoubleLE(value, this.#at);
        return;
      case 's':
      case 'o':
      case 'g':
        return this.#string(type.code, value);
      case 'v':
        return this.#variant(value as Variant, depth);
      case 'a':
        return this.#array(type.children[0] as Type, value, depth);
      case '(':
      case '{':
        return this.#fields(type, value, depth);
      default:
        return this.#integer(type.code, value);
    }
  }

  #integer(code: TypeCode, value: Value | undefined): void {
    const [min, max] = INTEGERS[code] as readonly [number, number];
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
      throw misfit(value, code === 'h' ? 'a descriptor' : `an integer of ${min} to ${max}`);
    this.#room(4);
    if (code === 'h') this.#u32(this.fds.push(value) - 1);
    else if (code === 'y') this.#buffer[this.#at++] = value;
    else if (code === 'n') this.#at = this.#buffer.writeInt16LE(value, this.#at);
    else if (code === 'q') this.#at = this.#buffer.writeUInt16LE(value, this.#at);
    else if (code === 'i') this.#at = this.#buffer.writeInt32LE(value, this.#at);
    else this.#u32(value);
  }

  #big(code: 'x' | 't', value: Value | undefined): void {
    const fits =
      typeof value === 'bigint' && (code === 'x' ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)) === value;
    if (!fits) throw misfit(value, `a bigint of 64 bits, ${code === 'x' ? 'signed' : 'unsigned'}`);
    this.#room(8);
    this.#at = this.#buffer.writeBigUInt64LE(BigInt.asUintN(64, value), this.#at);
  }

  #string(code: 's' | 'o' | 'g', value: Value | undefined): void {
    if (typeof value !== 'string' || value.includes('\0') || !value.isWellFormed()) throw misfit(value, 'a string');
    if (code === 'o') checkName('object path', value);
    if (code === 'g') parseSignature(value);
    const length = Buffer.byteLength(value);
    this.#room(4 + length + 1);
    if (code === 'g') this.#buffer[this.#at++] = length;
    else this.#u32(length);
    this.#at += this.#buffer.write(value, this.#at);
    this.#buffer[this.#at++] = 0;
  }

  #variant(value: Variant, depth: number): void {
    const types = parseSignature(String(value?.signature));
    const [type] = types;
    if (types.length !== 1 || type === undefined) throw misfit(value, 'a variant, which has one type');
    this.#string('g', value.signature);
    this.#value(type, value.value, depth + 1);
  }

  #array(element: Type, value: Value | undefined, depth: number): void {
    this.#u32(0);
    const lengthAt = this.#at - 4;
    this.align(element.alignment);
    const start = this.#at;
    if (element.code === 'y' && value instanceof Uint8Array) this.bytes(value);
    else if (element.code === '{' && value instanceof Map)
      for (const pair of value) this.#value(element, pair, depth + 1);
    else if (Array.isArray(value)) for (const one of value as readonly Value[]) this.#value(element, one, depth + 1);
    else throw misfit(value, element.code === '{' ? 'a Map' : 'an array');
    const length = this.#at - start;
    if (length > ARRAY_MAX) throw misfit(value, `an array: it takes more than ${ARRAY_MAX} bytes`);
    this.#buffer.writeUInt32LE(length, lengthAt);
  }

  #fields(type: Type, value: Value | undefined, depth: number): void {
    const { children } = type;
    if (!Array.isArray(value) || value.length !== children.length)
      throw misfit(value, `an array of ${children.length} values`);
    for (const [i, child] of children.entries()) this.#value(child, (value as readonly Value[])[i], depth + 1);
  }

  #u32(value: number): void {
    this.#room(4);
    this.#at = this.#buffer.writeUInt32LE(value, this.#at);
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.alloc(Math.max(2 * this.#buffer.length, this.#at + bytes));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

function misfit(value: unknown, what: string) {
  const shown = typeof value === 'string' ? JSON.stringify(value.slice(0, 80)) : String(value).slice(0, 80);
  return errors.SDK_ERR_DBUS_VALUE({ details: { value: shown, what } });
}
