// Messages with their descriptors on the socket of a bus. A message that is larger than allowed is read over, not kept:
// otherwise anybody on the bus could make us hang up.

import { closeSync } from 'node:fs';
import { duplicate, FdSocket, type Watch, watch } from '../linux/index.ts';
import { measureMessage, PREFIX_BYTES } from './message.ts';
import { broken } from './reader.ts';

/** Read at once. */
const CHUNK_BYTES = 65_536;
/** Sent at once, at most. */
const SEND_BYTES = 2 ** 20;
/** Read before others get their turn. */
const TURN_BYTES = 2 ** 20;
/** Descriptors that came and whose message did not come yet: the kernel passes 253 with one. */
const WAITING_FDS_MAX = 1024;

export interface Frame {
  /** The whole message, or only its header when it is `oversize`. */
  readonly bytes: Buffer;
  readonly oversize: boolean;
}

export interface StreamEvents {
  /** Before the first message: lines of the handshake. */
  onLine(line: string): void;
  /** Descriptors that belong to it have to be fetched with takeFds(). */
  onFrame(frame: Frame): void;
  /** Once; undefined: the other side has closed it, or close() was called. */
  onEnd(cause: unknown): void;
}

interface Queued {
  readonly bytes: Uint8Array;
  /** Copies of ours. */
  readonly fds: readonly number[];
}

const LINE_MAX = 4096;

export class BusStream implements Disposable {
  readonly #fd: number;
  readonly #socket: FdSocket;
  readonly #watch: Watch;
  readonly #events: StreamEvents;
  readonly #maxBytes: number;
  readonly #into: Buffer = Buffer.alloc(CHUNK_BYTES);
  #isOpen = true;
  #inHandshake = true;
  #line = '';
  #fds: number[] = [];
  readonly #queue: Queued[] = [];
  #queuedBytes = 0;
  // The message that is being read.
  readonly #prefix: Buffer = Buffer.alloc(PREFIX_BYTES);
  #filled = 0;
  #current: Buffer | undefined;
  #skip = 0;
  #isOversize = false;

  /** The descriptor, a connected socket, becomes this one's to close. */
  constructor(fd: number, maxBytes: number, events: StreamEvents) {
    this.#fd = fd;
    this.#maxBytes = maxBytes;
    this.#events = events;
    this.#socket = new FdSocket(fd);
    this.#watch = watch(fd, { readable: true }, ({ readable, writable }) => {
      if (writable) this.#flush();
      if (readable) this.#receive();
    });
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  beginMessages(): void {
    this.#inHandshake = false;
  }

  /** Descriptors stay the caller's, who may close them at once. @throws LinuxError */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    if (!this.#isOpen) return;
    const copies: number[] = [];
    try {
      for (const fd of fds) copies.push(duplicate(fd));
    } catch (e) {
      for (const fd of copies) closeSync(fd);
      throw e;
    }
    this.#queue.push({ bytes, fds: copies });
    this.#queuedBytes += bytes.length;
    if (this.#queue.length === 1) this.#flush();
  }

  /** The next `count` of those that came, the caller's to close; `undefined` when there are fewer. */
  takeFds(count: number): number[] | undefined {
    return count > this.#fds.length ? undefined : this.#fds.splice(0, count);
  }

  [Symbol.dispose](): void {
    this.#end(undefined);
  }

  #flush(): void {
    try {
      for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
        const part = next.bytes.subarray(0, SEND_BYTES);
        const sent = this.#socket.send(part, next.fds);
        if (sent === undefined) break;
        for (const fd of next.fds) closeSync(fd);
        this.#queuedBytes -= sent;
        if (sent === next.bytes.length) this.#queue.shift();
        else this.#queue[0] = { bytes: next.bytes.subarray(sent), fds: [] };
      }
      this.#watch.setInterest({ readable: true, writable: this.#queue.length > 0 });
    } catch (e) {
      this.#end(e);
    }
  }

  #receive(): void {
    try {
      for (let read = 0; this.#isOpen && read < TURN_BYTES; ) {
        const received = this.#socket.receive(this.#into);
        if (received === undefined) return;
        this.#fds.push(...received.fds);
        if (received.truncated) throw broken('descriptors were lost: too many of them came, or are open');
        if (received.bytes === 0) return this.#end(undefined);
        read += received.bytes;
        this.#take(this.#into.subarray(0, received.bytes));
        if (this.#fds.length > WAITING_FDS_MAX) throw broken('descriptors come without messages');
      }
    } catch (e) {
      this.#end(e);
    }
  }

  #take(bytes: Buffer): void {
    let rest = bytes;
    while (this.#isOpen && rest.length > 0) rest = this.#inHandshake ? this.#takeLine(rest) : this.#takePart(rest);
  }

  #takeLine(bytes: Buffer): Buffer {
    const end = bytes.indexOf('\n');
    this.#line += bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
    if (this.#line.length > LINE_MAX) throw broken('a line of the handshake does not end');
    if (end < 0) return bytes.subarray(bytes.length);
    const line = this.#line.replace(/\r$/, '');
    this.#line = '';
    this.#events.onLine(line);
    return bytes.subarray(end + 1);
  }

  #takePart(bytes: Buffer): Buffer {
    if (this.#current === undefined) {
      const taken = bytes.copy(this.#prefix, this.#filled, 0, PREFIX_BYTES - this.#filled);
      this.#filled += taken;
      if (this.#filled === PREFIX_BYTES) this.#begin();
      return bytes.subarray(taken);
    }
    if (this.#filled < this.#current.length) {
      const taken = bytes.copy(this.#current, this.#filled);
      this.#filled += taken;
      this.#finish();
      return bytes.subarray(taken);
    }
    const taken = Math.min(this.#skip, bytes.length);
    this.#skip -= taken;
    this.#finish();
    return bytes.subarray(taken);
  }

  #begin(): void {
    const { headerBytes, totalBytes } = measureMessage(this.#prefix);
    this.#isOversize = totalBytes > this.#maxBytes;
    // Of what is too large, the header tells whom to answer, and which descriptors are not those of the next message.
    const kept = this.#isOversize ? headerBytes : totalBytes;
    this.#current = Buffer.alloc(kept);
    this.#prefix.copy(this.#current);
    this.#skip = totalBytes - kept;
    this.#finish();
  }

  #finish(): void {
    const current = this.#current;
    if (current === undefined || this.#filled < current.length || this.#skip > 0) return;
    this.#current = undefined;
    this.#filled = 0;
    this.#events.onFrame({ bytes: current, oversize: this.#isOversize });
  }

  #end(cause: unknown): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#watch[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
    closeSync(this.#fd);
    for (const fd of this.#fds.splice(0)) closeSync(fd);
    for (const { fds } of this.#queue.splice(0)) for (const fd of fds) closeSync(fd);
    this.#queuedBytes = 0;
    this.#events.onEnd(cause);
  }
}
