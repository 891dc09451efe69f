// For tests: the driver's side of a split ring, for one descriptor or more per chain.

import { createVirtqueue, type GuestMemory, type Virtqueue } from '@runtime/sdk/virtio';

export interface Segment {
  /** Guest-physical. */
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

export interface Used {
  readonly head: number;
  readonly written: number;
}

const DESC_BYTES = 16;

export class TestRing {
  readonly queue: Virtqueue;
  readonly #size: number;
  readonly #view: DataView;
  readonly #desc: number;
  readonly #avail: number;
  readonly #used: number;
  readonly #free: number[];
  readonly #chains = new Map<number, readonly number[]>();
  #availIndex = 0;
  #usedIndex = 0;

  /** @param base guest-physical address of a page-aligned range for the ring; memory begins at guest address 0 */
  constructor(memory: GuestMemory, index: number, size: number, base: number, view: DataView) {
    this.#size = size;
    this.#view = view;
    this.#desc = base;
    this.#avail = base + DESC_BYTES * size;
    this.#used = (this.#avail + 6 + 2 * size + 3) & ~3;
    this.#free = Array.from({ length: size }, (_, i) => i);
    const features = { eventIdx: false, packed: false, inOrder: false, indirect: false };
    this.queue = createVirtqueue({
      index,
      size,
      features,
      memory,
      desc: this.#desc,
      driver: this.#avail,
      device: this.#used,
      base: 0,
      call: -1,
    });
  }

  static bytes(size: number): number {
    return DESC_BYTES * size + 6 + 2 * size + 4 + 6 + 8 * size;
  }

  get free(): number {
    return this.#free.length;
  }

  /** Makes a chain available; its head, or `undefined` when there are not enough descriptors. */
  add(segments: readonly Segment[]): number | undefined {
    if (this.#free.length < segments.length) return undefined;
    const ids = this.#free.splice(0, segments.length);
    for (const [i, { address, length, writable }] of segments.entries()) {
      const at = this.#desc + DESC_BYTES * (ids[i] as number);
      const next = ids[i + 1];
      this.#view.setBigUint64(at, BigInt(address), true);
      this.#view.setUint32(at + 8, length, true);
      this.#view.setUint16(at + 12, (writable ? 2 : 0) | (next === undefined ? 0 : 1), true);
      this.#view.setUint16(at + 14, next ?? 0, true);
    }
    const head = ids[0] as number;
    this.#chains.set(head, ids);
    this.#view.setUint16(this.#avail + 4 + 2 * (this.#availIndex % this.#size), head, true);
    this.#availIndex = (this.#availIndex + 1) & 0xffff;
    this.#view.setUint16(this.#avail + 2, this.#availIndex, true);
    return head;
  }

  /** What the device has given back since the last call. */
  take(): Used[] {
    const used: Used[] = [];
    while (this.#usedIndex !== this.#view.getUint16(this.#used + 2, true)) {
      const at = this.#used + 4 + 8 * (this.#usedIndex % this.#size);
      const head = this.#view.getUint32(at, true);
      used.push({ head, written: this.#view.getUint32(at + 4, true) });
      this.#free.push(...(this.#chains.get(head) ?? []));
      this.#chains.delete(head);
      this.#usedIndex = (this.#usedIndex + 1) & 0xffff;
    }
    return used;
  }
}
