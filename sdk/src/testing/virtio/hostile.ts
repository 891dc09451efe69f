// A guest that means harm: it writes to its rings what a driver never would, and what it likes at any time. All of it is
// plain data (HostileAct), so that a case that was found can be kept and played again.

import { signalEventfd } from '../../linux/eventfd.ts';
import { DESC_F_AVAIL, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_USED, DESC_F_WRITE } from '../../virtio/constants.ts';
import type { DriverQueue } from './driver.ts';
import type { Random } from './front-end-hostile.ts';

/** One descriptor of a chain. Address as [low, high] halves, so that each u64 can be written down. */
export interface HostileSegment {
  readonly address: readonly [low: number, high: number];
  readonly length: number;
  /** DESC_F_ bits. Of a chain in the ring, NEXT is as given, not as it ought to be. */
  readonly flags: number;
  /** Which descriptor follows (split rings, counted from the head, and their tables); buffer id (packed rings). */
  readonly next: number;
}

export type RingPartName = 'desc' | 'driver' | 'device' | 'buffers';

export type HostileAct =
  /** Writes descriptors from number `at` on (packed: from the slot that is next) and makes them available. */
  | { readonly do: 'chain'; readonly at: number; readonly segments: readonly HostileSegment[] }
  /** Writes an indirect table to the `at`-th 16 bytes of the buffers, and makes it available. */
  | { readonly do: 'table'; readonly at: number; readonly length: number; readonly segments: readonly HostileSegment[] }
  /** Writes bytes, in hex, to the buffers. `at` is counted in bytes. */
  | { readonly do: 'fill'; readonly at: number; readonly bytes: string }
  /** Writes one u16 anywhere. `at` is counted in u16, modulo the size of the part. */
  | { readonly do: 'poke'; readonly part: RingPartName; readonly at: number; readonly value: number }
  /** Moves the available index (split), or changes the lap (packed). */
  | { readonly do: 'jump'; readonly by: number }
  | { readonly do: 'kick' };

const TWO_32 = 0x1_0000_0000;
const BUFFERS = 0x1_0000;

/**
 * Plays acts on the ring of a driver, whose own bookkeeping is of no use afterwards: set the queue up anew.
 * The memory of the ring must not be freed before this is disposed of.
 */
export class HostileDriver implements Disposable {
  readonly #driver: DriverQueue;
  readonly #size: number;
  /** Guest address of 64 KiB for segments and tables. */
  readonly buffers: number;
  #availIdx = 0;
  #slot = 0;
  #wrap = 1;

  constructor(driver: DriverQueue) {
    this.#driver = driver;
    this.#size = driver.size;
    this.buffers = driver.ram.alloc(BUFFERS);
  }

  get #packed(): boolean {
    return this.#driver.features.packed;
  }

  /** Gives the buffers back. */
  [Symbol.dispose](): void {
    this.#driver.ram.free(this.buffers, BUFFERS);
  }

  /** What to do next, as `random` would have it: mostly chains that are nearly sound. */
  invent(random: Random): HostileAct {
    const kind = random(16);
    if (kind < 7) return { do: 'chain', at: random(this.#size), segments: this.#segments(random) };
    if (kind < 10) {
      const segments = this.#segments(random);
      const length =
        random(4) > 0 ? segments.length * 16 : pick(random, [0, 8, 24, 16 * 1025, 0xffff_fff0, 0xffff_ffff]);
      return { do: 'table', at: random(BUFFERS / 16), length, segments };
    }
    if (kind < 13) {
      const part = pick(random, ['desc', 'driver', 'device', 'buffers'] as const);
      return { do: 'poke', part, at: random(0x8000), value: this.#value16(random) };
    }
    if (kind < 14) return { do: 'jump', by: pick(random, [0, 1, 2, this.#size, this.#size + 1, 0x8000, 0xffff]) };
    return { do: 'kick' };
  }

  /** A request that begins as the device expects, and goes on as it likes. At most 512 bytes of it count. */
  inventRequest(bytes: Uint8Array, random: Random): HostileAct[] {
    const address = this.#inBuffers(random);
    const at = address[0] + address[1] * TWO_32 - this.buffers;
    const first = { address, length: bytes.length, flags: DESC_F_NEXT, next: 1 } as const;
    const rest = this.#segments(random).map((segment) => ({ ...segment, next: segment.next + 1 }));
    return [
      { do: 'fill', at, bytes: Buffer.from(bytes.subarray(0, 512)).toString('hex') },
      { do: 'chain', at: random(this.#size), segments: [first, ...rest] },
    ];
  }

  /**
   * A chain as a driver would make it, in up to four pieces: what is asked for may still be nonsense, but the device finds
   * that out only when it looks into it. At most 32 KiB each way.
   */
  soundRequest(bytes: Uint8Array, room: number, random: Random): HostileAct[] {
    const sent = bytes.subarray(0, BUFFERS / 2);
    const from = this.buffers + random(BUFFERS / 2 - sent.length + 1);
    const free = Math.min(room, BUFFERS / 2);
    const into = this.buffers + BUFFERS / 2 + random(BUFFERS / 2 - free + 1);
    const pieces = [...cut(from, sent.length, random, 0), ...cut(into, free, random, DESC_F_WRITE)];
    const segments = pieces.map(({ at, length, write }, i): HostileSegment => {
      const address = [at % TWO_32, Math.floor(at / TWO_32)] as const;
      return { address, length, flags: write | (i + 1 < pieces.length ? DESC_F_NEXT : 0), next: i + 1 };
    });
    if (segments.length === 0) return [];
    const fill = { do: 'fill', at: from - this.buffers, bytes: Buffer.from(sent).toString('hex') } as const;
    const at = random(this.#size);
    if (!this.#driver.features.indirect || random(2) === 0) return [fill, { do: 'chain', at, segments }];
    // Behind what it describes, unless the buffers are full.
    const table = Math.floor(random(BUFFERS) / 16);
    return [{ do: 'table', at: table, length: segments.length * 16, segments }, fill];
  }

  #segments(random: Random): HostileSegment[] {
    const count = 1 + random(5);
    const readable = random(count + 1);
    return Array.from({ length: count }, (_, i): HostileSegment => {
      const sound = random(8) > 0;
      const write = i < readable ? 0 : DESC_F_WRITE;
      const next = i + 1 < count ? DESC_F_NEXT : 0;
      return {
        address: sound ? this.#inBuffers(random) : this.#address(random),
        length: random(8) > 0 ? random(300) : this.#length(random),
        flags: random(12) > 0 ? write | next : random(0x1_0000),
        next: random(16) > 0 ? i + 1 : this.#value16(random),
      };
    });
  }

  #inBuffers(random: Random): [number, number] {
    const address = this.buffers + random(BUFFERS - 512);
    return [address % TWO_32, Math.floor(address / TWO_32)];
  }

  /** Edges of the memory, the ring itself, and what is nowhere. */
  #address(random: Random): [number, number] {
    const { files, memory } = this.#driver.ram;
    const file = files[random(files.length)];
    const start = file?.guestAddress ?? 0;
    const end = start + (file?.size ?? 0);
    const { desc, driver, device } = this.#driver;
    const known = [start, start - 1, end - 1, end, end - 100, end + 1, desc, driver, device, device + 2];
    if (random(3) > 0) {
      const address = Math.max(0, pick(random, known));
      return [address % TWO_32, Math.floor(address / TWO_32)];
    }
    return [
      pick(random, [0, memory.regions.length, 0xffff_ffff, 0xffff_fff0]),
      pick(random, [0, 1, 0x20_0000, 0xffff_ffff]),
    ];
  }

  #length(random: Random): number {
    return pick(random, [0, 1, 0xffff, 0x1_0000, 0x10_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]);
  }

  #value16(random: Random): number {
    const size = this.#size;
    return random(3) === 0
      ? random(0x1_0000)
      : pick(random, [0, 1, 2, 4, 5, size - 1, size, 0x7fff, 0x8000, 0x8080, 0xffff]);
  }

  apply(act: HostileAct): void {
    switch (act.do) {
      case 'chain':
        return this.#chain(act.at, act.segments);
      case 'table':
        return this.#table(act.at, act.length, act.segments);
      case 'fill': {
        const bytes = Buffer.from(act.bytes, 'hex');
        const at = Math.min(act.at, BUFFERS - bytes.length);
        this.#driver.ram.bytes(this.buffers + at, bytes.length).set(bytes);
        return;
      }
      case 'poke':
        return this.#poke(act.part, act.at, act.value);
      case 'jump':
        return this.#jump(act.by);
      case 'kick':
        // Whether the device wants it or not.
        return signalEventfd(this.#driver.kickFd);
    }
  }

  #chain(at: number, segments: readonly HostileSegment[]): void {
    if (this.#packed) return this.#packedChain(segments);
    const head = at % this.#size;
    segments.forEach(({ address, length, flags, next }, i) => {
      const index = (head + i) % this.#size;
      // It counts from the head where it can, so that most chains go on where they are.
      const follows = next < this.#size ? (head + next) % this.#size : next;
      this.#write(this.#driver.desc + index * 16, address, length, flags | (follows << 16));
    });
    this.#available(head);
  }

  #packedChain(segments: readonly HostileSegment[]): void {
    for (const { address, length, flags, next } of segments) {
      const lap = this.#wrap === 1 ? DESC_F_AVAIL : DESC_F_USED;
      const own = flags & ~(DESC_F_AVAIL | DESC_F_USED);
      this.#write(this.#driver.desc + this.#slot * 16, address, length, ((own | lap) << 16) | (next & 0xffff));
      this.#slot += 1;
      if (this.#slot < this.#size) continue;
      this.#slot = 0;
      this.#wrap = 1 - this.#wrap;
    }
  }

  #table(at: number, length: number, segments: readonly HostileSegment[]): void {
    const table = this.buffers + ((at * 16) % (BUFFERS - segments.length * 16));
    segments.forEach(({ address, length: bytes, flags, next }, i) => {
      this.#write(table + i * 16, address, bytes, this.#packed ? flags << 16 : flags | (next << 16));
    });
    const address = [table % TWO_32, Math.floor(table / TWO_32)] as const;
    this.#chain(at, [{ address, length, flags: DESC_F_INDIRECT, next: 0 }]);
  }

  #poke(part: RingPartName, at: number, value: number): void {
    const { desc, driver, device } = this.#driver;
    const size = this.#size;
    const bytes: Record<RingPartName, [number, number]> = {
      desc: [desc, size * 16],
      driver: [driver, this.#packed ? 4 : 6 + size * 2],
      device: [device, this.#packed ? 4 : 6 + size * 8],
      buffers: [this.buffers, BUFFERS],
    };
    const [start, length] = bytes[part];
    this.#words16(start, length)[at % (length / 2)] = value;
  }

  #jump(by: number): void {
    if (this.#packed) {
      this.#wrap = by & 1;
      this.#slot = by % this.#size;
      return;
    }
    this.#availIdx = (this.#availIdx + by) & 0xffff;
    this.#publish();
  }

  #available(head: number): void {
    this.#words16(this.#driver.driver, 4 + this.#size * 2)[2 + (this.#availIdx % this.#size)] = head;
    this.#availIdx = (this.#availIdx + 1) & 0xffff;
    this.#publish();
  }

  #publish(): void {
    Atomics.store(this.#words16(this.#driver.driver, 4), 1, this.#availIdx);
  }

  #words16(address: number, length: number): Uint16Array<ArrayBuffer> {
    const bytes = this.#driver.ram.bytes(address, length);
    return new Uint16Array(bytes.buffer, bytes.byteOffset, length / 2);
  }

  #write(at: number, [low, high]: readonly [number, number], length: number, last: number): void {
    const bytes = this.#driver.ram.bytes(at, 16);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, 4);
    words[0] = low;
    words[1] = high;
    words[2] = length;
    Atomics.store(words, 3, last >>> 0);
  }
}

interface Piece {
  readonly at: number;
  readonly length: number;
  readonly write: number;
}

/** None of them empty. */
function cut(at: number, length: number, random: Random, write: number): Piece[] {
  if (length === 0) return [];
  const first = random(2) === 0 ? length : 1 + random(length);
  const rest = length - first;
  return [{ at, length: first, write }, ...(rest === 0 ? [] : [{ at: at + first, length: rest, write }])];
}

function pick<T>(random: Random, values: readonly T[]): T {
  return values[random(values.length)] as T;
}
