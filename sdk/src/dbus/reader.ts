// Bytes to values. What comes is not trusted: every length is held against what is there, and nothing nests without end.

import { isUtf8 } from 'node:buffer';
import { errors } from '../errors.ts';
import { isName } from './names.ts';
import { parseSignature, type Type } from './signature.ts';
import type { Value } from './value.ts';
import { ARRAY_MAX, DEPTH_MAX } from './writer.ts';

/** Over the bytes of one message; alignment counts from their start. Byte arrays in what it gives are views of them. */
export class Reader {
  readonly #bytes: Buffer;
  readonly #little: boolean;
  readonly #fds: readonly number[];
  #at: number;
  #end: number;

  constructor(bytes: Buffer, options: { little: boolean; at: number; fds?: readonly number[] }) {
    this.#bytes = bytes;
    this.#little = options.little;
    this.#fds = options.fds ?? [];
    this.#at = options.at;
    this.#end = bytes.length;
  }

  get at(): number {
    return this.#at;
  }

  /** All that is left. @throws SDK_ERR_DBUS_PROTOCOL; SDK_ERR_DBUS_VALUE for a signature that is none */
  values(signature: string): Value[] {
    const values = parseSignature(signature).map((type) => this.value(type, 0));
    if (this.#at !== this.#end) throw broken(`${this.#end - this.#at} bytes are left after the values of a message`);
    return values;
  }

  /** @throws SDK_ERR_DBUS_PROTOCOL */
  value(type: Type, depth: number): Value {
    if (depth > DEPTH_MAX) throw broken(`values lie more than ${DEPTH_MAX} deep in each other`);
    this.align(type.alignment);
    switch (type.code) {
      case 'y':
        return this.#bytes[this.#take(1)] as number;
      case 'b':
        return this.#boolean();
      case 'n':
        return this.#little ? this.#bytes.readInt16LE(this.#take(2)) : this.#bytes.readInt16BE(this.#take(2));
      case 'q':
        return this.#little ? this.#bytes.readUInt16LE(this.#take(2)) : this.#bytes.readUInt16BE(this.#take(2));
      case 'i':
        return this.#little ? this.#bytes.readInt32LE(this.#take(4)) : this.#bytes.readInt32BE(this.#take(4));
      case 'u':
        return this.u32();
      case 'x':
        return BigInt.asIntN(64, this.#u64());
      case 't':
        return this.#u64();
      case 'd':
        return this.#little ? this.#bytes.readDoubleLE(this.#take(8)) : this.#bytes.readDoubleBE(this.#take(8));
      case 'h':
        return this.#descriptor();
      case 's':
      case 'o':
      case 'g':
        return this.#string(type.code);
      case 'v':
        return this.#variant(depth);
      case 'a':
        return this.#array(type.children[0] as Type, depth);
      default:
        return type.children.map((child) => this.value(child, depth + 1));
    }
  }

  align(to: number): void {
    while (this.#at % to !== 0) if (this.#bytes[this.#take(1)] !== 0) throw broken('the padding is not zero');
  }

  u32(): number {
    const at = this.#take(4);
    return this.#little ? this.#bytes.readUInt32LE(at) : this.#bytes.readUInt32BE(at);
  }

  #u64(): bigint {
    const at = this.#take(8);
    return this.#little ? this.#bytes.readBigUInt64LE(at) : this.#bytes.readBigUInt64BE(at);
  }

  #boolean(): boolean {
    const value = this.u32();
    if (value > 1) throw broken(`a boolean is ${value}`);
    return value === 1;
  }

  #descriptor(): number {
    const index = this.u32();
    const fd = this.#fds[index];
    if (fd === undefined) throw broken(`it names descriptor ${index} of ${this.#fds.length}`);
    return fd;
  }

  #string(code: 's' | 'o' | 'g'): string {
    const length = code === 'g' ? (this.#bytes[this.#take(1)] as number) : this.u32();
    const at = this.#take(length + 1);
    const bytes = this.#bytes.subarray(at, at + length);
    if (this.#bytes[at + length] !== 0 || bytes.includes(0) || !isUtf8(bytes)) throw broken('a string is none');
    const text = bytes.toString();
    if (code === 'o' && !isName('object path', text)) throw broken('an object path is none');
    if (code === 'g') parseSignature(text);
    return text;
  }

  #variant(depth: number): Value {
    const signature = this.#string('g');
    const types = parseSignature(signature);
    const [type] = types;
    if (types.length !== 1 || type === undefined) throw broken('a variant does not have one type');
    return { signature, value: this.value(type, depth + 1) };
  }

  #array(element: Type, depth: number): Value {
    const length = this.u32();
    if (length > ARRAY_MAX) throw broken(`an array takes ${length} bytes`);
    this.align(element.alignment);
    const start = this.#take(length);
    const end = start + length;
    if (element.code === 'y') return this.#bytes.subarray(start, end);
    // Elements may not reach beyond their array.
    const outer = this.#end;
    this.#at = start;
    this.#end = end;
    const values: Value[] = [];
    while (this.#at < end) values.push(this.value(element, depth + 1));
    this.#end = outer;
    if (element.code !== '{') return values;
    return new Map(values as unknown as readonly [Value, Value][]);
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (bytes > this.#end - at) throw broken(`${bytes} bytes are needed where ${this.#end - at} are left`);
    this.#at = at + bytes;
    return at;
  }
}

export function broken(why: string, cause?: unknown) {
  return errors.SDK_ERR_DBUS_PROTOCOL({ details: { why }, cause });
}
