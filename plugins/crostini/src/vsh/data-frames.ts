// What nearly all messages of vsh are: as many bytes of data as fit into one. They differ in the data alone, which is last,
// and so need not be encoded and decoded field by field: in a guest whose CPU is emulated that took most of the time.

import { DATA_MAX, frames } from './framing.ts';

const LENGTH_BYTES = 4;

export class DataFrames {
  readonly #encode: (data: Uint8Array) => Uint8Array;
  /** What is before the data in a frame that is full: its length, and the message's own. */
  readonly #head: Buffer;

  /** @param encode a message of data of one stream, in which the data is last */
  constructor(encode: (data: Uint8Array) => Uint8Array) {
    this.#encode = encode;
    this.#head = frames([encode(new Uint8Array(DATA_MAX))]).subarray(0, -DATA_MAX);
  }

  /** One after the other, to be written at once. No data: nothing. */
  of(data: Uint8Array): Buffer {
    const head = this.#head;
    const full = Math.floor(data.length / DATA_MAX) * DATA_MAX;
    const rest = full < data.length ? frames([this.#encode(data.subarray(full))]) : undefined;
    const whole = Buffer.allocUnsafe((full / DATA_MAX) * (head.length + DATA_MAX) + (rest?.length ?? 0));
    let at = 0;
    for (let from = 0; from < full; from += DATA_MAX) {
      whole.set(head, at);
      whole.set(data.subarray(from, from + DATA_MAX), at + head.length);
      at += head.length + DATA_MAX;
    }
    if (rest !== undefined) whole.set(rest, at);
    return whole;
  }

  /** A view of the data of a message that is full and of this stream. `undefined`: it is to be decoded. */
  dataOf(message: Uint8Array): Uint8Array | undefined {
    const head = this.#head.length - LENGTH_BYTES;
    if (message.length !== head + DATA_MAX) return undefined;
    for (let at = 0; at < head; at++) if (message[at] !== this.#head[LENGTH_BYTES + at]) return undefined;
    return message.subarray(head);
  }
}
