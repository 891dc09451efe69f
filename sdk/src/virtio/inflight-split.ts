// QueueRegionSplit of vhost-user "Inflight I/O tracking": one record for each descriptor, by its number.
//
//   u64 features  u16 version  u16 desc_num  u16 last_batch_head  u16 used_idx
//   then desc_num × { u8 inflight  u8 padding[5]  u16 next  u64 counter }

const VERSION = 1;
const TWO_32 = 0x1_0000_0000;

/** Indices of the header in u16. */
const VERSION_AT = 4;
const DESC_NUM_AT = 5;
const LAST_BATCH_HEAD_AT = 6;
const USED_IDX_AT = 7;

/** Of record `head` in u8, u16 and u32. */
const inflightAt = (head: number): number => 16 + 16 * head;
const nextAt = (head: number): number => 8 + 8 * head + 3;
const counterAt = (head: number): number => 4 + 4 * head + 2;

export class SplitInflight {
  readonly size: number;
  /** recover() has found records of an earlier process, so that they say where the ring goes on. */
  recovered: boolean = false;
  readonly #u8: Uint8Array<ArrayBuffer>;
  readonly #u16: Uint16Array<ArrayBuffer>;
  readonly #u32: Uint32Array<ArrayBuffer>;
  /** Of the next chain that is taken. */
  #counter: number = 0;

  constructor(buffer: ArrayBuffer, offset: number, size: number) {
    this.size = size;
    this.#u8 = new Uint8Array(buffer, offset, 16 + 16 * size);
    this.#u16 = new Uint16Array(buffer, offset, 8 + 8 * size);
    this.#u32 = new Uint32Array(buffer, offset, 4 + 4 * size);
  }

  /**
   * Mends what an earlier process left half done, and returns the heads that it still owes, in the order in which the
   * driver made them available. `usedIdx`: of the used ring.
   */
  recover(usedIdx: number): number[] {
    const u16 = this.#u16;
    if (u16[VERSION_AT] !== VERSION) {
      this.#u8.fill(0);
      u16[DESC_NUM_AT] = this.size;
      u16[USED_IDX_AT] = usedIdx;
      u16[VERSION_AT] = VERSION;
      return [];
    }
    this.recovered = true;
    this.#commitBatch(usedIdx);
    const heads: number[] = [];
    for (let head = 0; head < this.size; head += 1) if (this.#u8[inflightAt(head)] === 1) heads.push(head);
    heads.sort((a, b) => this.#counterOf(a) - this.#counterOf(b));
    const last = heads.at(-1);
    this.#counter = last === undefined ? 0 : this.#counterOf(last) + 1;
    return heads;
  }

  /** It was killed after the driver could see the batch and before the records said so. The list has the newest first. */
  #commitBatch(usedIdx: number): void {
    const u16 = this.#u16;
    const batch = Math.min((usedIdx - (u16[USED_IDX_AT] as number)) & 0xffff, this.size);
    let head = u16[LAST_BATCH_HEAD_AT] as number;
    for (let i = 0; i < batch && head < this.size; i += 1) {
      this.#u8[inflightAt(head)] = 0;
      head = u16[nextAt(head)] as number;
    }
    u16[USED_IDX_AT] = usedIdx;
  }

  #counterOf(head: number): number {
    const at = counterAt(head);
    return (this.#u32[at] as number) + (this.#u32[at + 1] as number) * TWO_32;
  }

  /** The chain at `head` was taken from the available ring. */
  take(head: number): void {
    const at = counterAt(head);
    this.#u32[at] = this.#counter;
    this.#u32[at + 1] = this.#counter / TWO_32;
    this.#counter += 1;
    this.#u8[inflightAt(head)] = 1;
  }

  /** It was put into the used ring, which the driver does not see yet. */
  use(head: number): void {
    const u16 = this.#u16;
    u16[nextAt(head)] = u16[LAST_BATCH_HEAD_AT] as number;
    u16[LAST_BATCH_HEAD_AT] = head;
  }

  /** The driver sees them: the index of the used ring is `usedIdx`. */
  publish(heads: Uint16Array, count: number, usedIdx: number): void {
    for (let i = 0; i < count; i += 1) this.#u8[inflightAt(heads[i] as number)] = 0;
    this.#u16[USED_IDX_AT] = usedIdx;
  }

  /**
   * The front end was told the base of the ring (VHOST_USER_GET_VRING_BASE), or resets the device: nothing is in flight,
   * and the next ring may begin elsewhere.
   */
  forget(): void {
    this.#u16[VERSION_AT] = 0;
  }
}
