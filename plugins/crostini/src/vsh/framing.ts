// The frames of vsh, for both ends: a length of 32 bits, little-endian, and so many bytes of a message of vsh.proto;
// platform2/vm_tools/common/vsh.cc.

import { errors } from '../errors.ts';

/** Bytes of one message. */
export const MESSAGE_MAX = 4096;
/** Bytes in one DataMessage. */
export const DATA_MAX = 4000;
const HEADER = 4;

export const malformedVsh = (why: string, cause?: unknown): Error =>
  errors.CROSTINI_ERR_VSH_FRAME({ details: { why }, cause });

/** One after the other, to be written at once. @throws CROSTINI_ERR_VSH_FRAME for more than MESSAGE_MAX bytes */
export function frames(messages: readonly Uint8Array[]): Buffer {
  const whole = Buffer.allocUnsafe(messages.reduce((sum, { length }) => sum + HEADER + length, 0));
  let at = 0;
  for (const message of messages) {
    if (message.length > MESSAGE_MAX) throw tooLong(message.length);
    at = whole.writeUInt32LE(message.length, at);
    whole.set(message, at);
    at += message.length;
  }
  return whole;
}

/** Pieces as large as a DataMessage takes; views. */
export function pieces(data: Uint8Array): Uint8Array[] {
  const count = Math.ceil(data.length / DATA_MAX);
  return Array.from({ length: count }, (_, i) => data.subarray(i * DATA_MAX, (i + 1) * DATA_MAX));
}

/** Takes a stream as it comes, and keeps one message of it at most. */
export class FrameParser {
  readonly #partial: Buffer = Buffer.allocUnsafe(HEADER + MESSAGE_MAX);
  #kept = 0;

  /**
   * Calls `onMessage` for each message that is whole; it must not keep the bytes, which are a view.
   * @throws CROSTINI_ERR_VSH_FRAME for one of more than MESSAGE_MAX bytes, after which nothing can be understood any more
   */
  push(chunk: Uint8Array, onMessage: (message: Uint8Array) => void): void {
    let at = 0;
    while (at < chunk.length || this.#isWhole()) {
      if (this.#isWhole()) {
        const end = this.#kept;
        this.#kept = 0;
        onMessage(this.#partial.subarray(HEADER, end));
      } else {
        at += this.#keep(chunk.subarray(at));
      }
    }
  }

  /** Whether the stream ended between two messages. */
  get isBetween(): boolean {
    return this.#kept === 0;
  }

  #isWhole(): boolean {
    return this.#kept >= HEADER && this.#kept === HEADER + this.#length();
  }

  #length(): number {
    return this.#partial.readUInt32LE(0);
  }

  /** Returns how many bytes were taken. */
  #keep(chunk: Uint8Array): number {
    const wanted = this.#kept < HEADER ? HEADER : HEADER + this.#length();
    const taken = chunk.subarray(0, wanted - this.#kept);
    this.#partial.set(taken, this.#kept);
    this.#kept += taken.length;
    if (this.#kept === HEADER && this.#length() > MESSAGE_MAX) throw tooLong(this.#length());
    return taken.length;
  }
}

function tooLong(length: number): Error {
  return malformedVsh(`it has ${length} bytes, more than ${MESSAGE_MAX}`);
}
