// Lines of a stream, each of bounded length.

const LF = 0x0a;

/** Bytes come as they come; what was made of them are whole lines without their line feed. */
export class LineSplitter {
  readonly #limit: number;
  #rest: Uint8Array[] = [];
  #length = 0;

  /** @param limit bytes of a line, without its line feed */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** `undefined`: a line is longer than the limit, and nothing that follows can be trusted. Takes no copy of `bytes`. */
  push(bytes: Uint8Array): readonly string[] | undefined {
    const lines: string[] = [];
    let from = 0;
    for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF, from)) {
      if (!this.#keep(bytes.subarray(from, end))) return undefined;
      lines.push(Buffer.concat(this.#rest, this.#length).toString('utf8'));
      this.#rest = [];
      this.#length = 0;
      from = end + 1;
    }
    // What remains is kept for later, when the caller has used its buffer again.
    return this.#keep(bytes.slice(from)) ? lines : undefined;
  }

  #keep(part: Uint8Array): boolean {
    if (part.length === 0) return true;
    this.#length += part.length;
    this.#rest.push(part);
    return this.#length <= this.#limit;
  }
}
