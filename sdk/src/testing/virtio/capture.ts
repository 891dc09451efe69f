// Traffic of virtqueues in a file: what drivers made available and what the device made of it, in the order in which it
// happened. Everything is little-endian and nothing is padded.
//
//   "RTVQ"  u32 version = 1
//   then records until the end of the file:
//   available   u8 1  u8 queue  u16 readable segments  u16 writable segments
//               u32 length of each segment, then the bytes of the readable ones
//   used        u8 2  u8 queue  u32 request  u32 written  u32 kept, then that many bytes of what was written
//
// Requests are numbered from 0 in the order of their `available` records, over all queues. What was written is kept up to
// the limit of who recorded it: 0 of a device whose data differ each time, such as an entropy source.

import { writeSync } from 'node:fs';
import { errors } from '../../errors.ts';
import { CHAIN_MAX } from '../../virtio/chain.ts';

const MAGIC = 'RTVQ';
const VERSION = 1;
const HEADER = 8;
const AVAILABLE = 1;
const USED = 2;
/** Bytes of one request, read and written. */
const MAX_REQUEST = 64 * 2 ** 20;
const FLUSH_AT = 256 * 1024;

export interface AvailableEvent {
  readonly kind: 'available';
  readonly queue: number;
  readonly request: number;
  readonly readable: readonly Uint8Array[];
  /** Lengths. */
  readonly writable: readonly number[];
}

export interface UsedEvent {
  readonly kind: 'used';
  readonly queue: number;
  readonly request: number;
  readonly written: number;
  /** The first bytes of what was written, or all. */
  readonly data: Uint8Array;
}

export type CaptureEvent = AvailableEvent | UsedEvent;

/** Appends to a file. Dispose of it to have all of it written; the descriptor stays the caller's. */
export class CaptureWriter implements Disposable {
  readonly #fd: number;
  readonly #keep: number;
  #parts: Uint8Array[] = [];
  #pending = 0;
  #requests = 0;

  /** `keep`: bytes of what was written to be kept of each request, default all. */
  constructor(fd: number, options: { readonly keep?: number } = {}) {
    this.#fd = fd;
    this.#keep = options.keep ?? MAX_REQUEST;
    const header = new Uint8Array(HEADER);
    header.set(new TextEncoder().encode(MAGIC));
    new DataView(header.buffer).setUint32(4, VERSION, true);
    this.#append(header);
  }

  /** A request; its number. @throws SDK_ERR_CAPTURE when it is larger than a capture holds */
  available(queue: number, readable: readonly Uint8Array[], writable: readonly number[]): number {
    const total = readable.reduce((sum, bytes) => sum + bytes.length, 0) + writable.reduce((sum, n) => sum + n, 0);
    if (total > MAX_REQUEST || readable.length + writable.length > CHAIN_MAX) throw refuse('a request is too large');
    const head = new Uint8Array(6 + 4 * (readable.length + writable.length));
    const view = new DataView(head.buffer);
    view.setUint8(0, AVAILABLE);
    view.setUint8(1, queue);
    view.setUint16(2, readable.length, true);
    view.setUint16(4, writable.length, true);
    for (const [i, length] of [...readable.map((bytes) => bytes.length), ...writable].entries()) {
      view.setUint32(6 + 4 * i, length, true);
    }
    this.#append(head);
    // Copies: guest memory changes, and slice() of a Buffer copies nothing.
    for (const bytes of readable) this.#append(new Uint8Array(bytes));
    this.#requests += 1;
    return this.#requests - 1;
  }

  used(queue: number, request: number, written: number, data: Uint8Array): void {
    const kept = new Uint8Array(data.subarray(0, this.#keep));
    const head = new Uint8Array(14);
    const view = new DataView(head.buffer);
    view.setUint8(0, USED);
    view.setUint8(1, queue);
    view.setUint32(2, request, true);
    view.setUint32(6, written, true);
    view.setUint32(10, kept.length, true);
    this.#append(head);
    this.#append(kept);
  }

  flush(): void {
    const bytes = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#pending = 0;
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
  }

  [Symbol.dispose](): void {
    this.flush();
  }

  #append(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#pending += bytes.length;
    if (this.#pending >= FLUSH_AT) this.flush();
  }
}

/**
 * The events of a capture. Nothing in it is trusted.
 * @throws SDK_ERR_CAPTURE when it is of another version, ends inside a record, or says what cannot be
 */
export function parseCapture(bytes: Uint8Array): CaptureEvent[] {
  const reader = new Reader(bytes);
  if (bytes.length < HEADER || new TextDecoder().decode(reader.bytes(4)) !== MAGIC) throw refuse('it begins otherwise');
  const version = reader.u32();
  if (version !== VERSION) throw refuse(`its version is ${version}, and ${VERSION} is understood`);
  const events: CaptureEvent[] = [];
  /** Room for writing, of requests that were not used yet; by number. */
  const open: ({ readonly queue: number; readonly room: number } | undefined)[] = [];
  while (!reader.ended) {
    const kind = reader.u8();
    if (kind === AVAILABLE) {
      const event = readAvailable(reader, open.length);
      open.push({ queue: event.queue, room: event.writable.reduce((sum, length) => sum + length, 0) });
      events.push(event);
    } else if (kind === USED) {
      const event = readUsed(reader);
      const request = open[event.request];
      if (request?.queue !== event.queue) throw refuse(`request ${event.request} is used, which is not there`);
      if (event.written > request.room || event.data.length > event.written)
        throw refuse('more was used than there is');
      open[event.request] = undefined;
      events.push(event);
    } else throw refuse(`a record is of kind ${kind}`);
  }
  return events;
}

function readAvailable(reader: Reader, request: number): AvailableEvent {
  const queue = reader.u8();
  const readable = reader.u16();
  const writable = reader.u16();
  if (readable + writable > CHAIN_MAX) throw refuse(`a request has ${readable + writable} segments`);
  const lengths = Array.from({ length: readable + writable }, () => reader.u32());
  if (lengths.reduce((sum, length) => sum + length, 0) > MAX_REQUEST) throw refuse('a request is too large');
  return {
    kind: 'available',
    queue,
    request,
    readable: lengths.slice(0, readable).map((length) => reader.bytes(length)),
    writable: lengths.slice(readable),
  };
}

function readUsed(reader: Reader): UsedEvent {
  const queue = reader.u8();
  const request = reader.u32();
  const written = reader.u32();
  return { kind: 'used', queue, request, written, data: reader.bytes(reader.u32()) };
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    // A plain array, also of what readFileSync gave.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get ended(): boolean {
    return this.#at === this.#bytes.length;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  #take(length: number): number {
    const at = this.#at;
    if (length > this.#bytes.length - at) throw refuse('it ends inside a record');
    this.#at = at + length;
    return at;
  }
}

const refuse = (why: string): Error => errors.SDK_ERR_CAPTURE({ details: { why } });
