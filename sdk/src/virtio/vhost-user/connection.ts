// One stream socket that carries vhost-user messages: reads them one after the other without ever blocking, and takes the
// next one only when the last was dealt with.

import { closeSync } from 'node:fs';
import { errors } from '../../errors.ts';
import { FdSocket } from '../../linux/ancillary.ts';
import { POLL, pollFds } from '../../linux/poll.ts';
import { type Watch, watch } from '../../linux/watch.ts';
import { type Frame, FrameReader } from './frames.ts';
import { MAX_FDS } from './messages.ts';

/** So many messages are dealt with before others have their turn in the event loop. */
const BURST = 64;
/** How often a message that takes long is interrupted to see whether the peer is still there, in ms. */
const HANGUP_CHECK_MS = 250;

export interface ConnectionClient {
  /** What it throws ends the connection. */
  frame(frame: Frame): Promise<void> | void;
  /** The peer has gone while a message is being dealt with: whoever waits for it may stop waiting. */
  hungUp?(): void;
  /** Once: the peer went away (`undefined`), or why nothing more is read. The connection is closed by then. */
  ended(cause: unknown): void;
}

export class Connection {
  readonly #fd: number;
  readonly #socket: FdSocket;
  readonly #reader: FrameReader;
  readonly #client: ConnectionClient;
  #watch: Watch | undefined;
  #busy = false;
  #open = true;
  /** Sends in turn. */
  #sending: Promise<void> = Promise.resolve();
  #writable: (() => void) | undefined;

  /** The descriptor is owned from here on, also when this throws. @throws LinuxError, SDK_ERR_WATCH */
  constructor(fd: number, from: 'requests' | 'replies', client: ConnectionClient) {
    this.#fd = fd;
    this.#client = client;
    try {
      this.#socket = new FdSocket(fd, { maxFds: MAX_FDS });
    } catch (e) {
      closeSync(fd);
      throw e;
    }
    this.#reader = new FrameReader(this.#socket, from);
  }

  get open(): boolean {
    return this.#open;
  }

  /** @throws SDK_ERR_WATCH */
  start(): void {
    this.#watch = watch(this.#fd, { readable: true }, () => this.#ready());
  }

  /** Ends when all bytes are with the kernel. @throws SDK_ERR_VHOST_USER_CLOSED; LinuxError EPIPE, … */
  send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    const sent = this.#sending.then(() => this.#sendAll(bytes, fds));
    this.#sending = sent.catch(() => {});
    return sent;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    this.#reader.close();
    this.#socket[Symbol.dispose]();
    closeSync(this.#fd);
    this.#writable?.();
  }

  #ready(): void {
    if (this.#writable !== undefined) this.#writable();
    else void this.#pump();
  }

  async #pump(): Promise<void> {
    // Level-triggered: without this the loop would call again and again while a message is dealt with.
    this.#watch?.setInterest({});
    if (this.#busy) return;
    this.#busy = true;
    try {
      for (let count = 1; this.#open; count += 1) {
        const frame = this.#reader.next();
        if (frame === 'wait') break;
        if (frame === 'end') {
          this.#end(undefined);
          return;
        }
        await this.#dealWith(frame);
        if (count % BURST === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      }
    } catch (e) {
      this.#end(e);
    } finally {
      this.#busy = false;
      this.#watch?.setInterest({ readable: true });
    }
  }

  async #dealWith(frame: Frame): Promise<void> {
    const timer = setInterval(() => this.#lookForHangup(), HANGUP_CHECK_MS);
    try {
      await this.#client.frame(frame);
    } finally {
      clearInterval(timer);
    }
  }

  #lookForHangup(): void {
    if (!this.#open) return;
    const [events = 0] = pollFds([{ fd: this.#fd, events: POLL.rdhup }], 0);
    if (events !== 0) this.#client.hungUp?.();
  }

  #end(cause: unknown): void {
    if (!this.#open) return;
    this.close();
    this.#client.ended(cause);
  }

  async #sendAll(bytes: Uint8Array, fds: readonly number[]): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (!this.#open) throw errors.SDK_ERR_VHOST_USER_CLOSED({ details: { what: 'a message', why: 'it was closed' } });
      const sent = this.#socket.send(bytes.subarray(at), at === 0 ? fds : []);
      if (sent === undefined) await this.#untilWritable();
      else at += sent;
    }
  }

  /** Nothing is read meanwhile: a peer that does not take its answers gets no more of them. */
  #untilWritable(): Promise<void> {
    return new Promise((resolve) => {
      this.#writable = () => {
        this.#writable = undefined;
        this.#watch?.setInterest(this.#busy ? {} : { readable: true });
        resolve();
      };
      this.#watch?.setInterest({ writable: true });
    });
  }
}
