// The driver's side of a virtqueue: it plays the guest. Buffers are given by value (add), or by guest address in a template
// that is made once and submitted over and over without any allocation, which is quick enough to load a back end.

import { closeSync } from 'node:fs';
import { drainEventfd, eventfd, signalEventfd } from '../../linux/eventfd.ts';
import type { VirtqueueSetup } from '../../virtio/virtqueue.ts';
import type { GuestRam } from './guest-ram.ts';

export interface DriverOptions {
  /** Descriptors; default 64. */
  readonly size?: number;
  readonly packed?: boolean;
  /** Each chain in a table of its own. */
  readonly indirect?: boolean;
  readonly eventIdx?: boolean;
  readonly inOrder?: boolean;
}

/** A list of segments of guest memory that can be made available again and again, once at a time. */
export interface Template {
  readonly guest: Float64Array;
  readonly length: Uint32Array;
  readonly count: number;
  /** The first ones are for the device to read. */
  readonly readable: number;
  /** Guest address of its indirect table; 0 when it has none. */
  readonly table: number;
  /** Its name in the ring: head descriptor, or buffer id. */
  readonly token: number;
  /** Descriptors of the ring that it takes. */
  readonly descriptors: number;
  readonly writableBytes: number;
  /** How it was made of buffers by value: they are freed when it was used. */
  readonly owned: boolean;
}

/** A chain that add() has made and the device has used. */
export interface Completion {
  readonly token: number;
  /** Bytes that the device says it has written. */
  readonly written: number;
  /** A copy of these, at most what the buffers hold. */
  readonly data: Uint8Array<ArrayBuffer>;
}

export abstract class DriverQueue implements Disposable {
  readonly ram: GuestRam;
  readonly size: number;
  readonly features: VirtqueueSetup['features'];
  /** Guest addresses of the parts of the ring. */
  readonly desc: number;
  readonly driver: number;
  readonly device: number;
  readonly kickFd: number;
  readonly callFd: number;
  /** Of the completion that next() has found. */
  doneToken: number = -1;
  doneWritten: number = 0;
  /** Made available and not used. */
  outstanding: number = 0;
  readonly #bytes: { readonly desc: number; readonly driver: number; readonly device: number };
  #disposed = false;
  protected readonly templates: (Template | undefined)[];
  /** Tokens in the order in which they were made available: with IN_ORDER they are used in this order. */
  readonly #order: Uint16Array;
  #orderFirst = 0;
  #orderCount = 0;
  /** The last of a batch that the device has told of with one used entry; −1 when there is none. */
  #batchEnd = -1;
  #batchWritten = 0;

  protected constructor(
    ram: GuestRam,
    options: DriverOptions,
    /** Of the parts of the ring. */
    bytes: { readonly desc: number; readonly driver: number; readonly device: number },
  ) {
    this.ram = ram;
    this.size = options.size ?? 64;
    this.features = {
      packed: options.packed === true,
      indirect: options.indirect === true,
      eventIdx: options.eventIdx === true,
      inOrder: options.inOrder === true,
    };
    this.#bytes = bytes;
    this.desc = ram.alloc(bytes.desc);
    this.driver = ram.alloc(bytes.driver);
    this.device = ram.alloc(bytes.device);
    ram.bytes(this.desc, bytes.desc).fill(0);
    ram.bytes(this.driver, bytes.driver).fill(0);
    ram.bytes(this.device, bytes.device).fill(0);
    this.kickFd = eventfd();
    this.callFd = eventfd();
    this.templates = new Array(this.size).fill(undefined);
    this.#order = new Uint16Array(this.size);
  }

  /** What a device in this process needs. `over`: what to say otherwise. */
  setup(over: Partial<VirtqueueSetup> = {}): VirtqueueSetup {
    const { size, features, desc, driver, device } = this;
    const base = this.features.packed ? 0x8000_8000 : 0;
    return {
      index: 0,
      size,
      features,
      memory: this.ram.memory,
      desc,
      driver,
      device,
      base,
      call: this.callFd,
      ...over,
    };
  }

  /**
   * Prepares a chain. `segments`: guest addresses and lengths, the readable ones first. `undefined` when the ring has no
   * descriptors for it.
   */
  template(segments: readonly (readonly [guest: number, length: number])[], readable: number): Template | undefined {
    return this.#make(segments, readable, false);
  }

  #make(
    segments: readonly (readonly [guest: number, length: number])[],
    readable: number,
    owned: boolean,
  ): Template | undefined {
    const indirect = this.features.indirect;
    const token = this.reserve(indirect ? 1 : segments.length);
    if (token < 0) return undefined;
    const template: Template = {
      guest: Float64Array.from(segments, ([guest]) => guest),
      length: Uint32Array.from(segments, ([, length]) => length),
      count: segments.length,
      readable,
      table: indirect ? this.ram.alloc(segments.length * 16) : 0,
      token,
      descriptors: indirect ? 1 : segments.length,
      writableBytes: segments.slice(readable).reduce((sum, [, length]) => sum + length, 0),
      owned,
    };
    this.templates[token] = template;
    this.prepare(template);
    return template;
  }

  /** Of a template that is not outstanding. */
  release(template: Template): void {
    this.templates[template.token] = undefined;
    if (template.table !== 0) this.ram.free(template.table, template.count * 16);
    this.unreserve(template);
  }

  /** Makes it available. False when the ring is full. The device may see it at once, and does after kick(). */
  submit(template: Template): boolean {
    if (!this.expose(template)) return false;
    this.#order[(this.#orderFirst + this.#orderCount) % this.size] = template.token;
    this.#orderCount += 1;
    this.outstanding += 1;
    return true;
  }

  /** Buffers by value: bytes for the device to read, lengths for it to write. The token, −1 when the ring is full. */
  add(readable: readonly Uint8Array[], writable: readonly number[]): number {
    const segments: [number, number][] = [];
    for (const bytes of readable) segments.push([this.ram.alloc(bytes.length), bytes.length]);
    for (const length of writable) segments.push([this.ram.alloc(length), length]);
    readable.forEach((bytes, i) => {
      const [guest, length] = segments[i] as [number, number];
      this.ram.bytes(guest, length).set(bytes);
    });
    const template = this.#make(segments, readable.length, true);
    if (template !== undefined && this.submit(template)) return template.token;
    if (template !== undefined) this.release(template);
    for (const [guest, length] of segments) this.ram.free(guest, length);
    return -1;
  }

  /** Publishes, and signals the kick eventfd if the device wants that. True when it does. */
  kick(): boolean {
    if (!this.publish()) return false;
    signalEventfd(this.kickFd);
    return true;
  }

  /** The next chain that the device has used, in `doneToken` and `doneWritten`. False when there is none. No allocation. */
  next(): boolean {
    if (this.#batchEnd < 0) {
      if (!this.take()) return false;
      if (!this.features.inOrder) {
        this.outstanding -= 1;
        this.#dropFirst();
        return true;
      }
      this.#batchEnd = this.doneToken;
      this.#batchWritten = this.doneWritten;
    }
    // One used entry may stand for all up to its chain: virtio 1.2 §2.7.9. Only of the last the length is known.
    if (this.#orderCount === 0) throw new RangeError(`the device has used ${this.#batchEnd}, which it was not given`);
    const token = this.#order[this.#orderFirst] as number;
    const last = token === this.#batchEnd;
    this.#dropFirst();
    this.outstanding -= 1;
    this.doneToken = token;
    this.doneWritten = last ? this.#batchWritten : (this.templates[token]?.writableBytes ?? 0);
    if (last) this.#batchEnd = -1;
    else this.skipped(token);
    return true;
  }

  #dropFirst(): void {
    this.#orderFirst = (this.#orderFirst + 1) % this.size;
    this.#orderCount -= 1;
  }

  /** All that was used since, with what was written. For chains of add(). */
  used(): Completion[] {
    const completions: Completion[] = [];
    while (this.next()) {
      const template = this.templates[this.doneToken];
      if (template === undefined) throw new RangeError(`the device has used ${this.doneToken}, which it was not given`);
      const data = new Uint8Array(Math.min(this.doneWritten, template.writableBytes));
      let at = 0;
      for (let i = template.readable; i < template.count && at < data.length; i += 1) {
        const length = Math.min(template.length[i] as number, data.length - at);
        data.set(this.ram.bytes(template.guest[i] as number, length), at);
        at += length;
      }
      completions.push({ token: this.doneToken, written: this.doneWritten, data });
      if (!template.owned) continue;
      for (let i = 0; i < template.count; i += 1)
        this.ram.free(template.guest[i] as number, template.length[i] as number);
      this.release(template);
    }
    return completions;
  }

  /** Whether the device has interrupted since it was last asked. */
  interrupted(): boolean {
    return drainEventfd(this.callFd);
  }

  /** Asks for an interrupt when more is used. False when there is more already. */
  abstract enableInterrupts(): boolean;
  abstract disableInterrupts(): void;

  /** A token with that many descriptors of the ring; −1 when there are not so many. */
  protected abstract reserve(descriptors: number): number;
  protected abstract unreserve(template: Template): void;
  /** Writes what can be written before it is submitted. */
  protected abstract prepare(template: Template): void;
  protected abstract expose(template: Template): boolean;
  /** Makes what was exposed visible. True when the device wants a kick. */
  protected abstract publish(): boolean;
  /** The next used entry of the ring. */
  protected abstract take(): boolean;
  /** A chain was used that has no used entry of its own. */
  protected abstract skipped(token: number): void;

  /** Frees the memory of the ring: no device may use it any more. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.ram.free(this.desc, this.#bytes.desc);
    this.ram.free(this.driver, this.#bytes.driver);
    this.ram.free(this.device, this.#bytes.device);
    closeSync(this.kickFd);
    closeSync(this.callFd);
  }
}
