// The split ring, virtio 1.2 §2.7: a descriptor table, an available ring that the driver writes, and a used ring that the
// device writes. Each field of a descriptor is read exactly once: the guest can change it between two reads.

import { errors } from '../errors.ts';
import { CHAIN_MAX, Chain } from './chain.ts';
import { AVAIL_F_NO_INTERRUPT, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, USED_F_NO_NOTIFY } from './constants.ts';
import type { GuestMemory } from './guest-memory.ts';
import { appendSplitTable } from './indirect-table.ts';
import type { SplitInflight } from './inflight-split.ts';
import type { Virtqueue, VirtqueueSetup, VirtqueueStats } from './virtqueue.ts';
import { CompletionOrder, DESC_BYTES, eventDue, findPart, Interrupter, WrittenLog } from './virtqueue-common.ts';

/** Available and used rings in u16: flags, idx, then entries. */
const FLAGS = 0;
const IDX = 1;
const AVAIL_RING = 2;
/** Used ring in u32: flags and idx, then entries of two. */
const USED_RING = 1;

/** What is known of a descriptor as the head of a chain. */
const FREE = 0;
const OUTSTANDING = 1;
/** Pushed; the driver does not see it yet. */
const PUSHED = 2;

export class SplitQueue implements Virtqueue {
  readonly index: number;
  readonly size: number;
  readonly stats: VirtqueueStats = { popped: 0, pushed: 0, refused: 0, interrupts: 0, suppressed: 0 };
  broken: string | undefined;
  refusal: string | undefined;
  outstanding: number = 0;

  readonly #memory: GuestMemory;
  readonly #mask: number;
  readonly #eventIdx: boolean;
  readonly #indirect: boolean;
  readonly #maxChain: number;
  readonly #chain: Chain;

  readonly #desc: Uint32Array<ArrayBuffer>;
  readonly #avail: Uint16Array<ArrayBuffer>;
  readonly #used16: Uint16Array<ArrayBuffer>;
  readonly #used32: Uint32Array<ArrayBuffer>;
  /** Index in #avail of used_event, and in #used16 of avail_event. */
  readonly #usedEvent: number;
  readonly #availEvent: number;
  readonly #device: number;

  /** Of the next entry to take; what the driver was seen to have published. Both modulo 2^16. */
  #lastAvail: number;
  #seenAvail: number;
  /** Of the next entry to write; what was published when the driver was last asked whether it wants an interrupt. */
  #usedIdx: number;
  #signalled: number;

  readonly #state: Uint8Array;
  readonly #writable: Uint32Array;
  /** Pushed since the last flush. */
  readonly #batch: Uint16Array;
  #batched: number = 0;

  #stopped: boolean = false;

  readonly #interrupter: Interrupter;
  readonly #order: CompletionOrder | undefined;
  readonly #log: WrittenLog | undefined;
  readonly #inflight: SplitInflight | undefined;
  /** Heads that an earlier process left unfinished, the next one last. */
  readonly #resubmit: number[];

  constructor(setup: VirtqueueSetup, inflight: SplitInflight | undefined) {
    const { size, features } = setup;
    if ((size & (size - 1)) !== 0)
      throw errors.SDK_ERR_VIRTIO_QUEUE({
        details: { index: setup.index, why: `its size ${size} is no power of two` },
      });
    this.index = setup.index;
    this.size = size;
    this.#memory = setup.memory;
    this.#mask = size - 1;
    this.#eventIdx = features.eventIdx;
    this.#indirect = features.indirect;
    this.#maxChain = setup.maxChain ?? CHAIN_MAX;
    this.#chain = new Chain(this.#maxChain);

    const desc = findPart(setup, 'descriptor table', setup.desc, size * DESC_BYTES, 16);
    // With the event index, a field follows each ring.
    const extra = features.eventIdx ? 1 : 0;
    const avail = findPart(setup, 'available ring', setup.driver, 4 + 2 * size + 2 * extra, 2);
    const used = findPart(setup, 'used ring', setup.device, 4 + 8 * size + 2 * extra, 4);
    this.#desc = new Uint32Array(desc.buffer, desc.offset, size * 4);
    this.#avail = new Uint16Array(avail.buffer, avail.offset, AVAIL_RING + size + extra);
    this.#used16 = new Uint16Array(used.buffer, used.offset, 2 + 4 * size + extra);
    this.#used32 = new Uint32Array(used.buffer, used.offset, USED_RING + 2 * size);
    this.#usedEvent = AVAIL_RING + size;
    this.#availEvent = 2 + 4 * size;
    this.#device = setup.device;

    this.#state = new Uint8Array(size);
    this.#writable = new Uint32Array(size);
    this.#batch = new Uint16Array(size);
    this.#order = features.inOrder ? new CompletionOrder(size) : undefined;
    this.#log = setup.log === undefined ? undefined : new WrittenLog(setup.log);
    this.#inflight = inflight;

    // Nobody else writes it while the ring is ours.
    this.#usedIdx = Atomics.load(this.#used16, IDX);
    this.#signalled = this.#usedIdx;
    this.#resubmit = inflight?.recover(this.#usedIdx).filter((head) => head < size) ?? [];
    // Each chain that was ever taken is either used or in flight, which says more than a base that was saved earlier.
    const taken = inflight?.recovered === true ? this.#usedIdx + this.#resubmit.length : setup.base;
    this.#lastAvail = taken & 0xffff;
    this.#seenAvail = this.#lastAvail;
    for (const head of this.#resubmit) this.#state[head] = OUTSTANDING;
    this.#resubmit.reverse();
    this.#interrupter = new Interrupter(setup.call, inflight?.recovered === true, this.stats);
  }

  pop(): Chain | undefined {
    if (this.#stopped) return undefined;
    const chain = this.#chain;
    for (let refused = 0; refused < this.size; refused += 1) {
      const head = this.#take();
      if (head < 0) return undefined;
      chain.clear(head);
      const why = this.#collect(head, chain);
      this.outstanding += 1;
      this.#order?.taken(head);
      if (why === undefined) {
        this.#writable[head] = chain.writableBytes;
        this.#log?.remember(head, chain);
        this.stats.popped += 1;
        return chain;
      }
      this.refusal = why;
      this.stats.refused += 1;
      this.#writable[head] = 0;
      this.#giveBack(head, 0);
    }
    return undefined;
  }

  /** The head of the next chain, marked as outstanding; −1 when there is none. */
  #take(): number {
    if (this.#resubmit.length > 0) return this.#resubmit.pop() as number;
    if (this.broken !== undefined) return -1;
    if (this.#lastAvail === this.#seenAvail && !this.#look()) return -1;
    const head = this.#avail[AVAIL_RING + (this.#lastAvail & this.#mask)] as number;
    if (head >= this.size)
      return this.#break(`available entry ${this.#lastAvail} names descriptor ${head} of ${this.size}`);
    if (this.#state[head] !== FREE)
      return this.#break(`descriptor ${head} was made available again before it was used`);
    this.#state[head] = OUTSTANDING;
    this.#lastAvail = (this.#lastAvail + 1) & 0xffff;
    this.#inflight?.take(head);
    return head;
  }

  /** True when the driver has made more available. */
  #look(): boolean {
    // Acquire: pairs with the driver's barrier between writing descriptors and ring entries and storing idx. What we read
    // of them after this load is at least as new as the index.
    const idx = Atomics.load(this.#avail, IDX);
    if (idx === this.#lastAvail) return false;
    const ahead = (idx - this.#lastAvail) & 0xffff;
    if (ahead > this.size) {
      this.#break(`the available index ${idx} is ${ahead} ahead, of ${this.size} entries`);
      return false;
    }
    this.#seenAvail = idx;
    return true;
  }

  #break(why: string): -1 {
    this.broken = why;
    return -1;
  }

  #collect(head: number, chain: Chain): string | undefined {
    const desc = this.#desc;
    let index = head;
    for (let steps = 0; steps < this.size; steps += 1) {
      const at = index * 4;
      const low = (desc[at] as number) | 0;
      const high = (desc[at + 1] as number) | 0;
      const length = desc[at + 2] as number;
      const flagsAndNext = desc[at + 3] as number;
      // The last one may be indirect, after any number of direct ones: §2.7.5.3.2.
      if ((flagsAndNext & DESC_F_INDIRECT) !== 0) {
        if (!this.#indirect) return 'it is indirect, which was not negotiated';
        if ((flagsAndNext & DESC_F_NEXT) !== 0) return 'its indirect descriptor has a next one';
        return appendSplitTable(chain, this.#memory, low, high, length, this.#maxChain);
      }
      const why = chain.appendDescriptor(this.#memory, low, high, length, (flagsAndNext & DESC_F_WRITE) !== 0);
      if (why !== undefined || (flagsAndNext & DESC_F_NEXT) === 0) return why;
      index = flagsAndNext >>> 16;
      if (index >= this.size) return 'its next descriptor is not in the table';
    }
    return 'its descriptors go round in a loop';
  }

  push(head: number, written: number): void {
    if (this.#state[head] !== OUTSTANDING)
      throw errors.SDK_ERR_VIRTIO_PUSH({ details: { index: this.index, head, why: 'it is not outstanding' } });
    const room = this.#writable[head] as number;
    if (!(written >= 0 && written <= room))
      throw errors.SDK_ERR_VIRTIO_PUSH({
        details: { index: this.index, head, why: `${written} bytes were written into ${room}` },
      });
    this.stats.pushed += 1;
    this.#giveBack(head, written);
  }

  #giveBack(head: number, written: number): void {
    this.outstanding -= 1;
    this.#state[head] = PUSHED;
    // The ring is another's already.
    if (this.#stopped) return;
    this.#log?.mark(head, written);
    const order = this.#order;
    if (order === undefined) {
      this.#use(head, written);
      return;
    }
    order.done(head, written);
    for (let next = order.next(); next >= 0; next = order.next()) this.#use(next, order.written(next));
  }

  #use(head: number, written: number): void {
    const at = USED_RING + (this.#usedIdx & this.#mask) * 2;
    this.#used32[at] = head;
    this.#used32[at + 1] = written;
    this.#log?.log.mark(this.#device + at * 4, 8);
    this.#usedIdx = (this.#usedIdx + 1) & 0xffff;
    this.#batch[this.#batched] = head;
    this.#batched += 1;
    this.#inflight?.use(head);
  }

  flush(): boolean {
    if (this.#stopped) return false;
    const batched = this.#batched;
    if (batched === 0) return this.#interrupter.owed && this.#interrupter.send();
    // Release: pairs with the driver's load of the used index, after which it reads the entries and what was written to
    // its buffers. It is also a full barrier before the load of what the driver wants, in #wanted().
    Atomics.store(this.#used16, IDX, this.#usedIdx);
    for (let i = 0; i < batched; i += 1) this.#state[this.#batch[i] as number] = FREE;
    this.#inflight?.publish(this.#batch, batched, this.#usedIdx);
    this.#log?.log.mark(this.#device, 4);
    this.#batched = 0;
    if (this.#wanted()) return this.#interrupter.send();
    this.stats.suppressed += 1;
    return false;
  }

  /**
   * Reads after the used index is stored, as the driver looks at that index after it has stored what it wants: one of the
   * two sees the other's store, so that no buffer waits for an interrupt that never comes.
   */
  #wanted(): boolean {
    const before = this.#signalled;
    this.#signalled = this.#usedIdx;
    if (!this.#eventIdx)
      return this.#interrupter.owed || (Atomics.load(this.#avail, FLAGS) & AVAIL_F_NO_INTERRUPT) === 0;
    const event = Atomics.load(this.#avail, this.#usedEvent);
    return this.#interrupter.owed || eventDue(event, this.#usedIdx, before);
  }

  enableNotifications(): boolean {
    if (this.#stopped || this.broken !== undefined) return true;
    if (this.#resubmit.length > 0) return false;
    // A full barrier follows either store: pairs with the driver, which stores its index before it looks whether a kick
    // is wanted. If it looked too early, we see its index now.
    if (this.#eventIdx) {
      Atomics.store(this.#used16, this.#availEvent, this.#lastAvail);
      this.#log?.log.mark(this.#device + this.#availEvent * 2, 2);
    } else {
      Atomics.store(this.#used16, FLAGS, 0);
      this.#log?.log.mark(this.#device, 2);
    }
    return Atomics.load(this.#avail, IDX) === this.#lastAvail;
  }

  disableNotifications(): void {
    // With the event index there is nothing to do: avail_event stays behind, and is passed once in 2^16 entries.
    if (this.#eventIdx || this.#stopped) return;
    Atomics.store(this.#used16, FLAGS, USED_F_NO_NOTIFY);
    this.#log?.log.mark(this.#device, 2);
  }

  base(): number {
    return this.#lastAvail;
  }

  stop(): number {
    this.flush();
    this.#stopped = true;
    return this.base();
  }

  setCall(fd: number): void {
    this.#interrupter.setFd(fd);
  }
}
