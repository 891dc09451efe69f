// Frames: one JSON object per line, UTF-8, ended by a line feed.

import { isUtf8 } from 'node:buffer';
import { errors } from '../core-errors.ts';
import type { JsonObject } from './value.ts';

/** Bytes of a frame, its line feed included. */
export const MAX_FRAME = 4 * 1024 * 1024;

const LINE_FEED = 0x0a;
const FIRST_CAPACITY = 4096;

/** @throws CORE_ERR_WIRE when it is longer than `maxBytes` */
export function encodeFrame(message: object, maxBytes: number = MAX_FRAME): string {
  const line = `${JSON.stringify(message)}\n`;
  // A UTF-16 unit is at most three bytes of UTF-8, so that short lines need no second look.
  if (line.length * 3 > maxBytes) {
    const bytes = Buffer.byteLength(line);
    if (bytes > maxBytes)
      throw errors.CORE_ERR_WIRE({ details: { why: `it has ${bytes} bytes, more than ${maxBytes}` } });
  }
  return line;
}

/** Reads frames out of chunks cut anywhere. After its first error it stays broken. */
export class FrameDecoder {
  readonly #maxBytes: number;
  /** The start of a frame whose end has not arrived; grows by doubling, so that many small chunks cost linear time. */
  #partial: Buffer = Buffer.alloc(0);
  #length = 0;
  #failure: Error | undefined;

  constructor(maxBytes: number = MAX_FRAME) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes of the frame that is incomplete; 0 between frames. */
  get buffered(): number {
    return this.#length;
  }

  /**
   * Calls `onFrame` for every frame that `chunk` completes, in order, before it throws for one that is bad.
   * @param onFrame `bytes`: length of the frame, its line feed included
   * @throws CORE_ERR_WIRE
   */
  push(chunk: Uint8Array, onFrame: (frame: JsonObject, bytes: number) => void): void {
    if (this.#failure !== undefined) throw this.#failure;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED, start)) {
      const line = this.#complete(bytes.subarray(start, end));
      start = end + 1;
      onFrame(this.#parse(line), line.length + 1);
    }
    if (start < bytes.length) this.#append(bytes.subarray(start));
  }

  /** @throws CORE_ERR_WIRE when the input ended inside a frame */
  end(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#length > 0) this.#fail('it ended before its line feed');
  }

  #complete(tail: Buffer): Buffer {
    if (this.#length === 0) {
      this.#checkLength(tail.length);
      return tail;
    }
    this.#append(tail);
    const line = this.#partial.subarray(0, this.#length);
    this.#partial = Buffer.alloc(0);
    this.#length = 0;
    return line;
  }

  #append(bytes: Buffer): void {
    const length = this.#length + bytes.length;
    this.#checkLength(length);
    if (length > this.#partial.length) {
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#partial.length, FIRST_CAPACITY));
      this.#partial.copy(grown, 0, 0, this.#length);
      this.#partial = grown;
    }
    bytes.copy(this.#partial, this.#length);
    this.#length = length;
  }

  #checkLength(length: number): void {
    if (length >= this.#maxBytes) this.#fail(`it has more than ${this.#maxBytes} bytes`);
  }

  #parse(line: Buffer): JsonObject {
    if (!isUtf8(line)) this.#fail('it is not UTF-8');
    let value: unknown;
    try {
      value = JSON.parse(line.toString('utf8'));
    } catch (cause) {
      this.#fail('it is not JSON', cause);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) this.#fail('it is not a JSON object');
    return value as JsonObject;
  }

  #fail(why: string, cause?: unknown): never {
    this.#failure = errors.CORE_ERR_WIRE({ details: { why }, cause });
    this.#partial = Buffer.alloc(0);
    this.#length = 0;
    throw this.#failure;
  }
}
