// The packed ring, virtio 1.2 §2.8: one ring of descriptors that both sides write in turn. Two flags of a descriptor say
// whose it is, by the parity of the lap (wrap counter) in which it was written. Each field is read exactly once.

import { errors } from '../errors.ts';
import { CHAIN_MAX, Chain } from './chain.ts';
import {
  DESC_F_AVAIL,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_USED,
  DESC_F_WRITE,
  RING_EVENT_DESC,
  RING_EVENT_DISABLE,
  RING_EVENT_ENABLE,
} from './constants.ts';
import type { GuestMemory } from './guest-memory.ts';
import { appendPackedTable } from './indirect-table.ts';
import type { PackedInflight } from './inflight-packed.ts';
import type { Virtqueue, VirtqueueSetup, VirtqueueStats } from './virtqueue.ts';
import { CompletionOrder, DESC_BYTES, eventDue, findPart, Interrupter, WrittenLog } from './virtqueue-common.ts';

/** Index of a descriptor's last word: id in the low half, flags in the high one. */
const wordAt = (slot: number): number => slot * 4 + 3;

const FREE = 0;
const OUTSTANDING = 1;
const PUSHED = 2;

export class PackedQueue implements Virtqueue {
  readonly index: number;
  readonly size: number;
  readonly stats: VirtqueueStats = { popped: 0, pushed: 0, refused: 0, interrupts: 0, suppressed: 0 };
  broken: string | undefined;
  refusal: string | undefined;
  outstanding: number = 0;

  readonly #memory: GuestMemory;
  readonly #eventIdx: boolean;
  readonly #indirect: boolean;
  readonly #maxChain: number;
  readonly #chain: Chain;

  /** Signed: V8 returns those from Atomics.load() without allocating, and not Numbers above 2^31. */
  readonly #ring: Int32Array<ArrayBuffer>;
  /** The event suppression structures: when to interrupt, and when to kick. One u32 each, so that both fields change together. */
  readonly #driverEvent: Uint32Array<ArrayBuffer>;
  readonly #deviceEvent: Uint32Array<ArrayBuffer>;
  readonly #desc: number;
  readonly #device: number;

  #availSlot: number;
  #availWrap: number;
  #usedSlot: number;
  #usedWrap: number;
  /** #usedSlot when the driver was last asked whether it wants an interrupt. */
  #signalled: number;
  /** Descriptors of chains that the driver does not see as used. */
  #taken: number = 0;

  /** A chain is known by a token below `size`: of these lists, or the entry of the inflight region. */
  readonly #freeTokens: Uint16Array;
  #free: number;
  readonly #state: Uint8Array;
  readonly #id: Uint16Array;
  readonly #num: Uint16Array;
  readonly #writable: Uint32Array;
  /** Pushed since the last flush. */
  readonly #batch: Uint16Array;
  readonly #batchWritten: Uint32Array;
  #batched: number = 0;
  /** Why the chain taken last is not sound. */
  #unsound: string | undefined;

  #stopped: boolean = false;

  readonly #interrupter: Interrupter;
  readonly #order: CompletionOrder | undefined;
  readonly #log: WrittenLog | undefined;
  readonly #inflight: PackedInflight | undefined;
  /** Entries of the inflight region that an earlier process left unfinished, the next one last. */
  readonly #resubmit: number[];

  constructor(setup: VirtqueueSetup, inflight: PackedInflight | undefined) {
    const { size, features, base } = setup;
    this.index = setup.index;
    this.size = size;
    this.#memory = setup.memory;
    this.#eventIdx = features.eventIdx;
    this.#indirect = features.indirect;
    this.#maxChain = setup.maxChain ?? CHAIN_MAX;
    this.#chain = new Chain(this.#maxChain);

    const ring = findPart(setup, 'descriptor ring', setup.desc, size * DESC_BYTES, 16);
    const driver = findPart(setup, 'driver event structure', setup.driver, 4, 4);
    const device = findPart(setup, 'device event structure', setup.device, 4, 4);
    this.#ring = new Int32Array(ring.buffer, ring.offset, size * 4);
    this.#driverEvent = new Uint32Array(driver.buffer, driver.offset, 1);
    this.#deviceEvent = new Uint32Array(device.buffer, device.offset, 1);
    this.#desc = setup.desc;
    this.#device = setup.device;

    // Tokens are entries of the inflight region when there is one, which may be larger than the ring.
    const tokens = inflight?.size ?? size;
    this.#freeTokens = new Uint16Array(tokens);
    for (let i = 0; i < tokens; i += 1) this.#freeTokens[i] = tokens - 1 - i;
    this.#free = tokens;
    this.#state = new Uint8Array(tokens);
    this.#id = new Uint16Array(tokens);
    this.#num = new Uint16Array(tokens);
    this.#writable = new Uint32Array(tokens);
    this.#batch = new Uint16Array(size);
    this.#batchWritten = new Uint32Array(size);
    this.#order = features.inOrder ? new CompletionOrder(tokens) : undefined;
    this.#log = setup.log === undefined ? undefined : new WrittenLog(setup.log);
    this.#inflight = inflight;

    this.#availSlot = base & 0x7fff;
    this.#availWrap = (base >>> 15) & 1;
    this.#usedSlot = (base >>> 16) & 0x7fff;
    this.#usedWrap = base >>> 31;
    if (this.#availSlot >= size || this.#usedSlot >= size)
      throw errors.SDK_ERR_VIRTIO_QUEUE({
        details: { index: setup.index, why: `its base 0x${base.toString(16)} is not in ${size} slots` },
      });
    const recovery = inflight?.recover(
      this.#usedSlot,
      this.#usedWrap,
      size,
      (slot) => Atomics.load(this.#ring, wordAt(slot % size)) >>> 16,
    );
    this.#resubmit = recovery?.chains ?? [];
    if (recovery !== undefined && inflight !== undefined) {
      this.#usedSlot = recovery.usedSlot;
      this.#usedWrap = recovery.usedWrap;
      for (const entry of recovery.chains) this.#taken += inflight.num(entry);
      // What is between the two positions is in flight, and all that is in flight is between them.
      const slot = recovery.usedSlot + this.#taken;
      this.#availSlot = slot % size;
      this.#availWrap = slot < size ? recovery.usedWrap : 1 - recovery.usedWrap;
      this.#resubmit.reverse();
    }
    this.#signalled = this.#usedSlot;
    this.#interrupter = new Interrupter(setup.call, recovery !== undefined, this.stats);
  }

  pop(): Chain | undefined {
    if (this.#stopped) return undefined;
    const chain = this.#chain;
    for (let refused = 0; refused < this.size; refused += 1) {
      const token = this.#resubmit.length > 0 ? this.#takeAgain(chain) : this.#take(chain);
      if (token < 0) return undefined;
      this.#state[token] = OUTSTANDING;
      this.outstanding += 1;
      this.#order?.taken(token);
      if (this.#unsound === undefined) {
        this.#writable[token] = chain.writableBytes;
        this.#log?.remember(token, chain);
        this.stats.popped += 1;
        return chain;
      }
      this.refusal = this.#unsound;
      this.stats.refused += 1;
      this.#writable[token] = 0;
      this.#giveBack(token, 0);
    }
    return undefined;
  }

  /** Takes the next chain from the ring, −1 when there is none. All its descriptors, also when one of them is not sound. */
  #take(chain: Chain): number {
    if (this.broken !== undefined) return -1;
    const ring = this.#ring;
    let slot = this.#availSlot;
    let wrap = this.#availWrap;
    // Acquire: pairs with the driver's barrier before it stores the flags of the first descriptor, which it does last.
    // What we read of all descriptors of the chain after this load is at least as new.
    let word = Atomics.load(ring, wordAt(slot));
    if (!isAvailable(word, wrap)) return -1;
    const inflight = this.#inflight;
    const most = this.size - this.#taken;
    if (most === 0) return this.#break('more is available than the ring has descriptors');
    const token = inflight === undefined ? (this.#freeTokens[this.#free - 1] as number) : inflight.begin();
    // Only a region that another process writes to as well could say so.
    if (this.#state[token] !== FREE) return this.#break('the list of free entries of the inflight region is damaged');
    chain.clear(token);
    this.#unsound = undefined;
    let num = 0;
    for (;;) {
      const at = slot * 4;
      const low = ring[at] as number;
      const high = ring[at + 1] as number;
      const length = (ring[at + 2] as number) >>> 0;
      inflight?.add(low, high, length, word);
      num += 1;
      this.#append(chain, low, high, length, word >>> 16);
      slot += 1;
      if (slot === this.size) {
        slot = 0;
        wrap = 1 - wrap;
      }
      if (((word >>> 16) & DESC_F_NEXT) === 0) break;
      if (num === most) return this.#break(`a chain has more than the ${most} descriptors that are left`);
      word = ring[wordAt(slot)] as number;
    }
    inflight?.end();
    this.#free -= 1;
    this.#id[token] = word;
    this.#num[token] = num;
    this.#taken += num;
    this.#availSlot = slot;
    this.#availWrap = wrap;
    return token;
  }

  /** The same from the inflight region, which has checked its lists. */
  #takeAgain(chain: Chain): number {
    const inflight = this.#inflight as PackedInflight;
    const token = this.#resubmit.pop() as number;
    const num = inflight.num(token);
    chain.clear(token);
    this.#unsound = undefined;
    let entry = token;
    for (let i = 0; ; ) {
      const word = inflight.idAndFlags(entry);
      this.#append(chain, inflight.low(entry), inflight.high(entry), inflight.length(entry), word >>> 16);
      this.#id[token] = word;
      i += 1;
      if (i === num) break;
      entry = inflight.next(entry);
    }
    this.#free -= 1;
    this.#num[token] = num;
    return token;
  }

  #append(chain: Chain, low: number, high: number, length: number, flags: number): void {
    if (this.#unsound !== undefined) return;
    if ((flags & DESC_F_INDIRECT) === 0)
      this.#unsound = chain.appendDescriptor(this.#memory, low, high, length, (flags & DESC_F_WRITE) !== 0);
    else if (!this.#indirect) this.#unsound = 'it is indirect, which was not negotiated';
    else if ((flags & DESC_F_NEXT) !== 0) this.#unsound = 'its indirect descriptor has a next one';
    else this.#unsound = appendPackedTable(chain, this.#memory, low, high, length, this.#maxChain);
  }

  #break(why: string): -1 {
    this.broken = why;
    return -1;
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

  #giveBack(token: number, written: number): void {
    this.outstanding -= 1;
    this.#state[token] = PUSHED;
    // The ring is another's already.
    if (this.#stopped) return;
    this.#log?.mark(token, written);
    const order = this.#order;
    if (order === undefined) {
      this.#enqueue(token, written);
      return;
    }
    order.done(token, written);
    for (let next = order.next(); next >= 0; next = order.next()) this.#enqueue(next, order.written(next));
  }

  #enqueue(token: number, written: number): void {
    this.#batch[this.#batched] = token;
    this.#batchWritten[this.#batched] = written;
    this.#batched += 1;
  }

  flush(): boolean {
    if (this.#stopped) return false;
    const batched = this.#batched;
    if (batched === 0) return this.#interrupter.owed && this.#interrupter.send();
    if (this.#inflight === undefined) this.#publishBatch(batched);
    else for (let i = 0; i < batched; i += 1) this.#publishRecorded(this.#inflight, i);
    this.#batched = 0;
    if (this.#wanted()) return this.#interrupter.send();
    this.stats.suppressed += 1;
    return false;
  }

  /** All but the first, then the first, where the driver looks: it sees the batch at once. */
  #publishBatch(batched: number): void {
    const ring = this.#ring;
    const firstSlot = this.#usedSlot;
    const firstWord = this.#used(0);
    for (let i = 1; i < batched; i += 1) {
      const word = wordAt(this.#usedSlot);
      ring[word] = this.#used(i);
    }
    // Release: pairs with the driver's load of these flags, after which it reads the id, the length and its buffers; also
    // a full barrier before #wanted().
    Atomics.store(ring, wordAt(firstSlot), firstWord);
  }

  /**
   * One at a time, each a batch of its own in the records. A batch that is rolled back would leave used descriptors in the
   * ring ahead of where the next process writes, and the driver would take them for its own as soon as it came by.
   */
  #publishRecorded(inflight: PackedInflight, i: number): void {
    const token = this.#batch[i] as number;
    const slot = this.#usedSlot;
    const word = this.#used(i);
    inflight.use(token, this.#usedSlot, this.#usedWrap);
    // As in #publishBatch().
    Atomics.store(this.#ring, wordAt(slot), word);
    inflight.published(token);
  }

  /** Writes the length of a used descriptor, moves on, and returns its last word. */
  #used(i: number): number {
    const token = this.#batch[i] as number;
    const written = this.#batchWritten[i] as number;
    const slot = this.#usedSlot;
    this.#ring[slot * 4 + 2] = written;
    const lap = this.#usedWrap === 0 ? 0 : DESC_F_AVAIL | DESC_F_USED;
    // WRITE says that the length means something.
    const flags = written > 0 ? lap | DESC_F_WRITE : lap;
    const num = this.#num[token] as number;
    this.#usedSlot += num;
    if (this.#usedSlot >= this.size) {
      this.#usedSlot -= this.size;
      this.#usedWrap = 1 - this.#usedWrap;
    }
    this.#taken -= num;
    this.#state[token] = FREE;
    this.#freeTokens[this.#free] = token;
    this.#free += 1;
    this.#log?.log.mark(this.#desc + slot * DESC_BYTES, DESC_BYTES);
    return (flags << 16) | (this.#id[token] as number);
  }

  /**
   * After the flags are stored, as the driver looks at them after it has stored what it wants: one of the two sees the
   * other's store.
   */
  #wanted(): boolean {
    const now = this.#usedSlot;
    const before = now <= this.#signalled ? this.#signalled - this.size : this.#signalled;
    this.#signalled = now;
    if (this.#interrupter.owed) return true;
    const word = Atomics.load(this.#driverEvent, 0);
    const mode = (word >>> 16) & 3;
    if (mode === RING_EVENT_DISABLE) return false;
    if (mode !== RING_EVENT_DESC || !this.#eventIdx) return true;
    const slot = word & 0x7fff;
    // Of another lap than ours: the one before. (Or the next, which is as far from being due.)
    const event = ((word >>> 15) & 1) === this.#usedWrap ? slot : slot - this.size;
    return eventDue(event, now, before);
  }

  enableNotifications(): boolean {
    if (this.#stopped || this.broken !== undefined) return true;
    if (this.#resubmit.length > 0) return false;
    const where = this.#availSlot | (this.#availWrap << 15);
    const word = this.#eventIdx ? (RING_EVENT_DESC << 16) | where : RING_EVENT_ENABLE << 16;
    // A full barrier: pairs with the driver, which stores the flags of a descriptor before it looks whether a kick is
    // wanted. If it looked too early, we see the descriptor now.
    Atomics.store(this.#deviceEvent, 0, word);
    this.#log?.log.mark(this.#device, 4);
    return !isAvailable(Atomics.load(this.#ring, wordAt(this.#availSlot)), this.#availWrap);
  }

  disableNotifications(): void {
    if (this.#stopped) return;
    Atomics.store(this.#deviceEvent, 0, RING_EVENT_DISABLE << 16);
    this.#log?.log.mark(this.#device, 4);
  }

  base(): number {
    const avail = this.#availSlot | (this.#availWrap << 15);
    const used = this.#usedSlot | (this.#usedWrap << 15);
    return avail + used * 0x1_0000;
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

/** The driver has written it in this lap, and the device has not. */
function isAvailable(word: number, wrap: number): boolean {
  const flags = word >>> 16;
  return ((flags & DESC_F_AVAIL) !== 0) === (wrap === 1) && ((flags & DESC_F_USED) !== 0) === (wrap === 0);
}
