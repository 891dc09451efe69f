// A driver of packed rings, virtio 1.2 §2.8.

import {
  DESC_F_AVAIL,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_USED,
  DESC_F_WRITE,
  RING_EVENT_DESC,
  RING_EVENT_DISABLE,
  RING_EVENT_ENABLE,
} from '../../virtio/constants.ts';
import { eventDue } from '../../virtio/virtqueue-common.ts';
import { type DriverOptions, DriverQueue, type Template } from './driver.ts';
import type { GuestRam } from './guest-ram.ts';

const TWO_32 = 0x1_0000_0000;

export class PackedDriver extends DriverQueue {
  /** Signed, as in PackedQueue. */
  readonly #ring: Int32Array<ArrayBuffer>;
  readonly #driverEvent: Uint32Array<ArrayBuffer>;
  readonly #deviceEvent: Uint32Array<ArrayBuffer>;
  /** Buffer ids that no template has. */
  readonly #freeIds: number[];
  /** Descriptors of each outstanding chain. */
  readonly #num: Uint16Array;
  #free: number;
  #availSlot = 0;
  #availWrap = 1;
  #usedSlot = 0;
  #usedWrap = 1;
  /** Descriptors made available since the device was last told. */
  #pending = 0;

  constructor(ram: GuestRam, options: DriverOptions) {
    const size = options.size ?? 64;
    super(ram, options, { desc: size * 16, driver: 4, device: 4 });
    const desc = ram.bytes(this.desc, size * 16);
    const driver = ram.bytes(this.driver, 4);
    const device = ram.bytes(this.device, 4);
    this.#ring = new Int32Array(desc.buffer, desc.byteOffset, size * 4);
    this.#driverEvent = new Uint32Array(driver.buffer, driver.byteOffset, 1);
    this.#deviceEvent = new Uint32Array(device.buffer, device.byteOffset, 1);
    this.#freeIds = Array.from({ length: size }, (_, i) => size - 1 - i);
    this.#num = new Uint16Array(size);
    this.#free = size;
  }

  protected override reserve(descriptors: number): number {
    if (descriptors === 0 || descriptors > this.size) return -1;
    return this.#freeIds.pop() ?? -1;
  }

  protected override unreserve({ token }: Template): void {
    this.#freeIds.push(token);
  }

  protected override prepare(template: Template): void {
    const { table, count } = template;
    if (table === 0) return;
    const bytes = this.ram.bytes(table, count * 16);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, count * 4);
    for (let i = 0; i < count; i += 1) {
      writeBuffer(words, i * 4, template.guest[i] as number, template.length[i] as number);
      words[i * 4 + 3] = (i < template.readable ? 0 : DESC_F_WRITE) << 16;
    }
  }

  protected override expose(template: Template): boolean {
    const { descriptors, table, token, count, readable } = template;
    if (descriptors > this.#free) return false;
    const ring = this.#ring;
    const first = this.#availSlot;
    const firstWord = this.#word(table === 0 ? flagsOf(0, readable, count) : DESC_F_INDIRECT, token);
    if (table === 0) writeBuffer(ring, first * 4, template.guest[0] as number, template.length[0] as number);
    else writeBuffer(ring, first * 4, table, count * 16);
    this.#advance();
    for (let i = 1; i < descriptors; i += 1) {
      const at = this.#availSlot * 4;
      writeBuffer(ring, at, template.guest[i] as number, template.length[i] as number);
      ring[at + 3] = this.#word(flagsOf(i, readable, count), token);
      this.#advance();
    }
    this.#free -= descriptors;
    this.#num[token] = descriptors;
    this.#pending += descriptors;
    // Release: pairs with the device's load of these flags. All descriptors of the chain are there before.
    Atomics.store(ring, first * 4 + 3, firstWord);
    return true;
  }

  /** The last word of a descriptor at the slot that is next. */
  #word(flags: number, token: number): number {
    const lap = this.#availWrap === 1 ? DESC_F_AVAIL : DESC_F_USED;
    return ((flags | lap) << 16) | token;
  }

  #advance(): void {
    this.#availSlot += 1;
    if (this.#availSlot === this.size) {
      this.#availSlot = 0;
      this.#availWrap = 1 - this.#availWrap;
    }
  }

  protected override publish(): boolean {
    if (this.#pending === 0) return false;
    const now = this.#availSlot;
    const before = now - this.#pending;
    this.#pending = 0;
    const word = Atomics.load(this.#deviceEvent, 0);
    const mode = word >>> 16;
    if (mode === RING_EVENT_DISABLE) return false;
    if (mode !== RING_EVENT_DESC) return true;
    const slot = word & 0x7fff;
    return eventDue(((word >>> 15) & 1) === this.#availWrap ? slot : slot - this.size, now, before);
  }

  #isUsed(): boolean {
    // Acquire: pairs with the device's store of the flags.
    const flags = Atomics.load(this.#ring, this.#usedSlot * 4 + 3) >>> 16;
    const lap = this.#usedWrap === 1;
    return ((flags & DESC_F_AVAIL) !== 0) === lap && ((flags & DESC_F_USED) !== 0) === lap;
  }

  protected override take(): boolean {
    if (!this.#isUsed()) return false;
    const at = this.#usedSlot * 4;
    const word = this.#ring[at + 3] as number;
    this.doneToken = word & 0xffff;
    this.doneWritten = ((word >>> 16) & DESC_F_WRITE) === 0 ? 0 : (this.#ring[at + 2] as number) >>> 0;
    this.skipped(this.doneToken);
    return true;
  }

  protected override skipped(token: number): void {
    const num = this.#num[token] ?? 0;
    this.#free += num;
    this.#usedSlot += num;
    if (this.#usedSlot < this.size) return;
    this.#usedSlot -= this.size;
    this.#usedWrap = 1 - this.#usedWrap;
  }

  override enableInterrupts(): boolean {
    const where = this.#usedSlot | (this.#usedWrap << 15);
    Atomics.store(
      this.#driverEvent,
      0,
      this.features.eventIdx ? (RING_EVENT_DESC << 16) | where : RING_EVENT_ENABLE << 16,
    );
    return !this.#isUsed();
  }

  override disableInterrupts(): void {
    Atomics.store(this.#driverEvent, 0, RING_EVENT_DISABLE << 16);
  }
}

const flagsOf = (i: number, readable: number, count: number): number =>
  (i < readable ? 0 : DESC_F_WRITE) | (i + 1 < count ? DESC_F_NEXT : 0);

function writeBuffer(words: Int32Array | Uint32Array, at: number, guest: number, length: number): void {
  words[at] = guest;
  words[at + 1] = guest / TWO_32;
  words[at + 2] = length;
}
