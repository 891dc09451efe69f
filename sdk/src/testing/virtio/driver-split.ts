// A driver of split rings, virtio 1.2 §2.7.

import {
  AVAIL_F_NO_INTERRUPT,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  USED_F_NO_NOTIFY,
} from '../../virtio/constants.ts';
import { eventDue } from '../../virtio/virtqueue-common.ts';
import { type DriverOptions, DriverQueue, type Template } from './driver.ts';
import type { GuestRam } from './guest-ram.ts';

const TWO_32 = 0x1_0000_0000;

export class SplitDriver extends DriverQueue {
  readonly #desc: Uint32Array<ArrayBuffer>;
  readonly #avail: Uint16Array<ArrayBuffer>;
  readonly #used16: Uint16Array<ArrayBuffer>;
  readonly #used32: Uint32Array<ArrayBuffer>;
  readonly #mask: number;
  /** Descriptors that no template has. */
  readonly #free: number[];
  /** Of each token. */
  readonly #chains: (number[] | undefined)[];
  #availIdx = 0;
  /** What the device was last told of. */
  #published = 0;
  #lastUsed = 0;

  constructor(ram: GuestRam, options: DriverOptions) {
    const size = options.size ?? 64;
    super(ram, options, { desc: size * 16, driver: 6 + size * 2, device: 6 + size * 8 });
    const desc = ram.bytes(this.desc, size * 16);
    const avail = ram.bytes(this.driver, 6 + size * 2);
    const used = ram.bytes(this.device, 6 + size * 8);
    this.#desc = new Uint32Array(desc.buffer, desc.byteOffset, size * 4);
    this.#avail = new Uint16Array(avail.buffer, avail.byteOffset, 3 + size);
    this.#used16 = new Uint16Array(used.buffer, used.byteOffset, 3 + size * 4);
    this.#used32 = new Uint32Array(used.buffer, used.byteOffset, 1 + size * 2);
    this.#mask = size - 1;
    this.#free = Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#chains = new Array(size).fill(undefined);
  }

  /** Index of the next available entry, modulo 2^16. */
  get availIdx(): number {
    return this.#availIdx;
  }

  protected override reserve(descriptors: number): number {
    if (descriptors === 0 || descriptors > this.#free.length) return -1;
    const chain = this.#free.splice(-descriptors);
    const token = chain[0] as number;
    this.#chains[token] = chain;
    return token;
  }

  protected override unreserve({ token }: Template): void {
    this.#free.push(...(this.#chains[token] ?? []));
    this.#chains[token] = undefined;
  }

  protected override prepare(template: Template): void {
    const { table, token, count } = template;
    const chain = this.#chains[token] as number[];
    if (table === 0) {
      chain.forEach((index, i) => {
        const next = chain[i + 1];
        writeDescriptor(this.#desc, index * 4, template, i, next ?? 0, next !== undefined);
      });
      return;
    }
    const bytes = this.ram.bytes(table, count * 16);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, count * 4);
    for (let i = 0; i < count; i += 1) writeDescriptor(words, i * 4, template, i, i + 1, i + 1 < count);
    const at = token * 4;
    this.#desc[at] = table;
    this.#desc[at + 1] = table / TWO_32;
    this.#desc[at + 2] = count * 16;
    this.#desc[at + 3] = DESC_F_INDIRECT;
  }

  protected override expose({ token }: Template): boolean {
    if (this.outstanding === this.size) return false;
    this.#avail[2 + (this.#availIdx & this.#mask)] = token;
    this.#availIdx = (this.#availIdx + 1) & 0xffff;
    return true;
  }

  protected override publish(): boolean {
    const before = this.#published;
    const now = this.#availIdx;
    if (before === now) return false;
    // Release: pairs with the device's load of the index. A full barrier before the loads that follow.
    Atomics.store(this.#avail, 1, now);
    this.#published = now;
    if (!this.features.eventIdx) return (Atomics.load(this.#used16, 0) & USED_F_NO_NOTIFY) === 0;
    return eventDue(Atomics.load(this.#used16, 2 + this.size * 4), now, before);
  }

  protected override take(): boolean {
    // Acquire: pairs with the device's store of the index, after the entries.
    if (Atomics.load(this.#used16, 1) === this.#lastUsed) return false;
    const at = 1 + (this.#lastUsed & this.#mask) * 2;
    this.doneToken = this.#used32[at] as number;
    this.doneWritten = this.#used32[at + 1] as number;
    this.#lastUsed = (this.#lastUsed + 1) & 0xffff;
    return true;
  }

  protected override skipped(): void {
    // The index counts entries, and those of skipped chains were counted with them.
    this.#lastUsed = (this.#lastUsed + 1) & 0xffff;
  }

  override enableInterrupts(): boolean {
    if (this.features.eventIdx) Atomics.store(this.#avail, 2 + this.size, this.#lastUsed);
    else Atomics.store(this.#avail, 0, 0);
    return Atomics.load(this.#used16, 1) === this.#lastUsed;
  }

  override disableInterrupts(): void {
    // With the event index: one entry back, which is passed only after a lap of 2^16.
    if (this.features.eventIdx) Atomics.store(this.#avail, 2 + this.size, (this.#lastUsed - 1) & 0xffff);
    else Atomics.store(this.#avail, 0, AVAIL_F_NO_INTERRUPT);
  }
}

function writeDescriptor(
  words: Uint32Array,
  at: number,
  template: Template,
  i: number,
  next: number,
  hasNext: boolean,
): void {
  const guest = template.guest[i] as number;
  words[at] = guest;
  words[at + 1] = guest / TWO_32;
  words[at + 2] = template.length[i] as number;
  const flags = (i < template.readable ? 0 : DESC_F_WRITE) | (hasNext ? DESC_F_NEXT : 0);
  words[at + 3] = flags | (next << 16);
}
