// QueueRegionPacked of vhost-user "Inflight I/O tracking". Slots of a packed ring are written over by used descriptors, so
// the records hold copies of the descriptors, in lists; the entries that hold none are in a list as well.
//
//   u64 features  u16 version  u16 desc_num  u16 free_head  u16 old_free_head  u16 used_idx  u16 old_used_idx
//   u8 used_wrap_counter  u8 old_used_wrap_counter  u8 padding[7]
//   then from byte 32 desc_num × { u8 inflight  u8 padding  u16 next  u16 last  u16 num  u64 counter  u16 id  u16 flags
//   u32 len  u64 addr }

import { errors } from '../errors.ts';
import { DESC_F_AVAIL, DESC_F_USED } from './constants.ts';

const VERSION = 1;
const TWO_32 = 0x1_0000_0000;

/** Indices of the header in u16, and of the wrap counters in u8. */
const VERSION_AT = 4;
const DESC_NUM_AT = 5;
const FREE_HEAD_AT = 6;
const OLD_FREE_HEAD_AT = 7;
const USED_IDX_AT = 8;
const OLD_USED_IDX_AT = 9;
const USED_WRAP_AT = 20;
const OLD_USED_WRAP_AT = 21;

/** Of entry `e` in u8, u16 and u32. */
const inflightAt = (e: number): number => 32 + 32 * e;
const nextAt = (e: number): number => 16 + 16 * e + 1;
const lastAt = (e: number): number => 16 + 16 * e + 2;
const numAt = (e: number): number => 16 + 16 * e + 3;
const counterAt = (e: number): number => 8 + 8 * e + 2;
/** id and flags, len, addr: as the last three words of a descriptor, in another order. */
const idAndFlagsAt = (e: number): number => 8 + 8 * e + 4;
const lenAt = (e: number): number => 8 + 8 * e + 5;
const addrAt = (e: number): number => 8 + 8 * e + 6;

/** Where the ring is, and what is owed. */
export interface PackedRecovery {
  readonly usedSlot: number;
  readonly usedWrap: number;
  /** First entries of the chains, in the order in which they were made available. */
  readonly chains: number[];
}

export class PackedInflight {
  readonly size: number;
  readonly #u8: Uint8Array<ArrayBuffer>;
  readonly #u16: Uint16Array<ArrayBuffer>;
  readonly #u32: Uint32Array<ArrayBuffer>;
  #counter: number = 0;
  /** First and latest entry of the chain that is being taken. */
  #head: number = 0;

  constructor(buffer: ArrayBuffer, offset: number, size: number) {
    this.size = size;
    this.#u8 = new Uint8Array(buffer, offset, 32 + 32 * size);
    this.#u16 = new Uint16Array(buffer, offset, 16 + 16 * size);
    this.#u32 = new Uint32Array(buffer, offset, 8 + 8 * size);
  }

  /**
   * Mends what an earlier process left half done; `undefined` when there was none, and then the ring begins where
   * `usedSlot` and `usedWrap` say. `flagsOf`: flags of a slot of the ring, which has `ringSize` of them.
   * @throws SDK_ERR_VIRTIO_INFLIGHT when the records contradict themselves
   */
  recover(
    usedSlot: number,
    usedWrap: number,
    ringSize: number,
    flagsOf: (slot: number) => number,
  ): PackedRecovery | undefined {
    if (this.#u16[VERSION_AT] !== VERSION) {
      this.#begin(usedSlot, usedWrap);
      return undefined;
    }
    this.#commitOrRollBack(flagsOf);
    this.#clearFree();
    const slot = this.#u16[USED_IDX_AT] as number;
    const wrap = this.#u8[USED_WRAP_AT] as number;
    if (slot >= ringSize || wrap > 1) throw corrupt(`the ring is at slot ${slot} of ${ringSize}, lap ${wrap}`);
    const chains: number[] = [];
    for (let e = 0; e < this.size; e += 1) if (this.#u8[inflightAt(e)] === 1) chains.push(e);
    chains.sort((a, b) => this.#counterOf(a) - this.#counterOf(b));
    let descriptors = 0;
    for (const e of chains) descriptors += this.#checkChain(e);
    if (descriptors > ringSize) throw corrupt(`${descriptors} descriptors are in flight, of ${ringSize}`);
    const last = chains.at(-1);
    this.#counter = last === undefined ? 0 : this.#counterOf(last) + 1;
    return { usedSlot: slot, usedWrap: wrap, chains };
  }

  #begin(usedSlot: number, usedWrap: number): void {
    this.#u8.fill(0);
    const u16 = this.#u16;
    // The last one names an entry that is not there: the end.
    for (let e = 0; e < this.size; e += 1) u16[nextAt(e)] = e + 1;
    u16[DESC_NUM_AT] = this.size;
    u16[USED_IDX_AT] = usedSlot;
    u16[OLD_USED_IDX_AT] = usedSlot;
    this.#u8[USED_WRAP_AT] = usedWrap;
    this.#u8[OLD_USED_WRAP_AT] = usedWrap;
    u16[VERSION_AT] = VERSION;
  }

  /**
   * What was under way when the process was killed: taking a chain, giving one back (before or after the driver could
   * see it), or noting that it could. Only the last leaves free_head and old_free_head alike with more to do; there, old
   * values are half brought up to date, and a flag of the ring compared with them may say anything. The specification
   * compares the slots alone, which misses this case and that of a chain as long as the ring.
   */
  #commitOrRollBack(flagsOf: (slot: number) => number): void {
    const u16 = this.#u16;
    const u8 = this.#u8;
    if (u16[FREE_HEAD_AT] === u16[OLD_FREE_HEAD_AT]) {
      this.#commit();
      return;
    }
    const slot = u16[OLD_USED_IDX_AT] as number;
    const wrap = u8[OLD_USED_WRAP_AT] as number;
    if (u16[USED_IDX_AT] !== slot || u8[USED_WRAP_AT] !== wrap) {
      const available = wrap === 0 ? DESC_F_USED : DESC_F_AVAIL;
      if ((flagsOf(slot) & (DESC_F_AVAIL | DESC_F_USED)) !== available) {
        this.#commit();
        return;
      }
    }
    // free_head last: once it is the old one, what used_idx says counts.
    u16[USED_IDX_AT] = slot;
    u8[USED_WRAP_AT] = wrap;
    u16[FREE_HEAD_AT] = u16[OLD_FREE_HEAD_AT] as number;
  }

  /** old_free_head first: it says that the rest is to follow. */
  #commit(): void {
    const u16 = this.#u16;
    u16[OLD_FREE_HEAD_AT] = u16[FREE_HEAD_AT] as number;
    u16[OLD_USED_IDX_AT] = u16[USED_IDX_AT] as number;
    this.#u8[OLD_USED_WRAP_AT] = this.#u8[USED_WRAP_AT] as number;
  }

  #clearFree(): void {
    let e = this.#u16[FREE_HEAD_AT] as number;
    for (let i = 0; i < this.size && e < this.size; i += 1) {
      this.#u8[inflightAt(e)] = 0;
      e = this.#u16[nextAt(e)] as number;
    }
  }

  /** The number of its descriptors. */
  #checkChain(head: number): number {
    const num = this.#u16[numAt(head)] as number;
    if (num === 0 || num > this.size) throw corrupt(`entry ${head} begins a chain of ${num} descriptors`);
    let e = head;
    for (let i = 1; i < num; i += 1) {
      e = this.#u16[nextAt(e)] as number;
      if (e >= this.size) throw corrupt(`the chain of entry ${head} goes on in entry ${e} of ${this.size}`);
    }
    if (e !== this.#u16[lastAt(head)]) throw corrupt(`the chain of entry ${head} does not end where it says`);
    return num;
  }

  #counterOf(e: number): number {
    const at = counterAt(e);
    return (this.#u32[at] as number) + (this.#u32[at + 1] as number) * TWO_32;
  }

  /** Descriptors of the chain that begins at an entry. */
  num(head: number): number {
    return this.#u16[numAt(head)] as number;
  }

  next(e: number): number {
    return this.#u16[nextAt(e)] as number;
  }

  /** id in the low half, as in a descriptor. */
  idAndFlags(e: number): number {
    return this.#u32[idAndFlagsAt(e)] as number;
  }

  length(e: number): number {
    return this.#u32[lenAt(e)] as number;
  }

  /** Of the address. */
  low(e: number): number {
    return this.#u32[addrAt(e)] as number;
  }

  high(e: number): number {
    return this.#u32[addrAt(e) + 1] as number;
  }

  /** A chain is taken from the ring: begin, then its descriptors, then end. Returns its first entry. */
  begin(): number {
    const head = this.#u16[OLD_FREE_HEAD_AT] as number;
    const at = counterAt(head);
    this.#head = head;
    this.#u16[FREE_HEAD_AT] = head;
    this.#u16[numAt(head)] = 0;
    this.#u32[at] = this.#counter;
    this.#u32[at + 1] = this.#counter / TWO_32;
    this.#counter += 1;
    this.#u8[inflightAt(head)] = 1;
    return head;
  }

  add(addressLow: number, addressHigh: number, length: number, idAndFlags: number): void {
    const e = this.#u16[FREE_HEAD_AT] as number;
    this.#u16[lastAt(this.#head)] = e;
    const num = numAt(this.#head);
    this.#u16[num] = (this.#u16[num] as number) + 1;
    const at = addrAt(e);
    this.#u32[at] = addressLow;
    this.#u32[at + 1] = addressHigh;
    this.#u32[lenAt(e)] = length;
    this.#u32[idAndFlagsAt(e)] = idAndFlags;
    this.#u16[FREE_HEAD_AT] = this.#u16[nextAt(e)] as number;
  }

  /** From here on it is in flight: before, it was in the list of free entries, and would have been taken again. */
  end(): void {
    this.#u16[OLD_FREE_HEAD_AT] = this.#u16[FREE_HEAD_AT] as number;
  }

  /** About to be shown to the driver as used; the ring will be at that slot. A batch of its own: see PackedQueue. */
  use(head: number, usedSlot: number, usedWrap: number): void {
    const u16 = this.#u16;
    u16[nextAt(u16[lastAt(head)] as number)] = u16[FREE_HEAD_AT] as number;
    u16[FREE_HEAD_AT] = head;
    u16[USED_IDX_AT] = usedSlot;
    this.#u8[USED_WRAP_AT] = usedWrap;
  }

  /** The driver sees it. */
  published(head: number): void {
    this.#u8[inflightAt(head)] = 0;
    this.#commit();
  }

  /** As SplitInflight.forget(). */
  forget(): void {
    this.#u16[VERSION_AT] = 0;
  }
}

const corrupt = (why: string): Error => errors.SDK_ERR_VIRTIO_INFLIGHT({ details: { why } });
