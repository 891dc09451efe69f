// Finds the frames of a zstd stream, RFC 8878 §3.1, without decompressing them. Node's decompressor takes frames that
// follow each other, but stops without an error at the first skippable one; what this lets through has none.

import { errors } from '../../errors.ts';
import { FRAME_MAGIC, METADATA_MAGIC, SKIPPABLE_MAGIC } from './format.ts';

/** The longest header: magic, descriptor, window, dictionary, content size. */
const MAX_HEADER = 18;
const MAX_BLOCK = 128 * 1024;
/** Of a frame with metadata; what is longer is passed over. */
const MAX_METADATA = 4096;
const MAGIC_BYTES = 4;
const BLOCK_HEADER = 3;
const CHECKSUM_BYTES = 4;

type Step = 'magic' | 'skippable' | 'descriptor' | 'header' | 'block' | 'checksum';

const bad = (why: string): Error => errors.CROSTINI_ERR_DISK_IMAGE({ details: { why } });

export class FrameReader {
  readonly #onMetadata: (content: Uint8Array) => void;
  /** What has been collected of the header that comes next, and how much of it is needed. */
  readonly #head: Buffer = Buffer.alloc(MAX_HEADER);
  #have = 0;
  #need = MAGIC_BYTES;
  #step: Step = 'magic';
  /** Bytes that follow and go on to the decompressor, or are passed over. */
  #passing = 0;
  #skipping = 0;
  #metadata: Buffer | undefined;
  #checksum = false;
  #frames = 0;

  constructor(onMetadata: (content: Uint8Array) => void) {
    this.#onMetadata = onMetadata;
  }

  /** What of `chunk` is to be decompressed. @throws CROSTINI_ERR_DISK_IMAGE */
  *push(chunk: Uint8Array): Generator<Uint8Array> {
    let at = 0;
    while (at < chunk.length) {
      const left = chunk.length - at;
      if (this.#passing > 0) {
        const length = Math.min(this.#passing, left);
        yield chunk.subarray(at, at + length);
        this.#passing -= length;
        at += length;
      } else if (this.#skipping > 0) {
        const length = Math.min(this.#skipping, left);
        this.#skip(chunk.subarray(at, at + length));
        at += length;
      } else {
        const length = Math.min(this.#need - this.#have, left);
        this.#head.set(chunk.subarray(at, at + length), this.#have);
        this.#have += length;
        at += length;
        if (this.#have === this.#need && this.#isWhole()) {
          yield Uint8Array.from(this.#head.subarray(0, this.#have));
          this.#next();
        }
      }
    }
  }

  /** The stream has ended. @throws CROSTINI_ERR_DISK_IMAGE */
  end(): void {
    if (this.#frames === 0) throw bad('it is empty');
    if (this.#step !== 'magic' || this.#have + this.#passing + this.#skipping > 0) throw bad('it ends too early');
  }

  #skip(bytes: Uint8Array): void {
    this.#metadata?.set(bytes, this.#metadata.length - this.#skipping);
    this.#skipping -= bytes.length;
    if (this.#skipping > 0 || this.#metadata === undefined) return;
    this.#onMetadata(this.#metadata);
    this.#metadata = undefined;
  }

  /** Whether what was asked for is a whole header; otherwise more of it is asked for. */
  #isWhole(): boolean {
    if (this.#step === 'magic') {
      const magic = this.#head.readUInt32LE(0);
      const skippable = (magic & 0xffff_fff0) >>> 0 === SKIPPABLE_MAGIC;
      if (!skippable && magic !== FRAME_MAGIC)
        throw bad(this.#frames === 0 ? 'it does not begin as zstd does' : 'what follows a frame is none');
      this.#frames += 1;
      return this.#ask(skippable ? 'skippable' : 'descriptor', skippable ? 8 : MAGIC_BYTES + 1);
    }
    if (this.#step === 'skippable') {
      this.#skipping = this.#head.readUInt32LE(4);
      const isMetadata = this.#head.readUInt32LE(0) === METADATA_MAGIC;
      const kept = isMetadata && this.#skipping > 0 && this.#skipping <= MAX_METADATA;
      this.#metadata = kept ? Buffer.alloc(this.#skipping) : undefined;
      this.#begin('magic', MAGIC_BYTES);
      return false;
    }
    if (this.#step === 'descriptor') {
      const descriptor = this.#head[MAGIC_BYTES] as number;
      if ((descriptor & 8) !== 0) throw bad('a frame has a bit that is reserved');
      const single = (descriptor & 0x20) !== 0;
      this.#checksum = (descriptor & 4) !== 0;
      const dictionary = [0, 1, 2, 4][descriptor & 3] as number;
      const contentSize = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
      return this.#ask('header', MAGIC_BYTES + 1 + (single ? 0 : 1) + dictionary + contentSize);
    }
    return true;
  }

  #ask(step: Step, need: number): boolean {
    this.#step = step;
    this.#need = need;
    return this.#have === need;
  }

  #begin(step: Step, need: number): void {
    this.#step = step;
    this.#need = need;
    this.#have = 0;
  }

  /** A header, a block's header or a checksum has been passed on: what follows it. */
  #next(): void {
    if (this.#step === 'checksum') return this.#begin('magic', MAGIC_BYTES);
    if (this.#step !== 'block') return this.#begin('block', BLOCK_HEADER);
    const header = this.#head.readUIntLE(0, BLOCK_HEADER);
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (type === 3) throw bad('a block is of a kind that is reserved');
    if (size > MAX_BLOCK) throw bad('a block is too long');
    // One byte stands for a run of `size`.
    this.#passing = type === 1 ? 1 : size;
    const isLast = (header & 1) !== 0;
    if (!isLast) this.#begin('block', BLOCK_HEADER);
    else if (this.#checksum) this.#begin('checksum', CHECKSUM_BYTES);
    else this.#begin('magic', MAGIC_BYTES);
  }
}
