// One end of the control channel: requests in both directions, each answered once, with descriptors. The other end may
// vanish at any moment.

import { closeSync } from 'node:fs';
import { type ErrorRecord, fromErrorRecord, toErrorRecord } from '@runtime/core/errors';
import { errors } from '../../errors.ts';
import { FdSocket } from '../../linux/ancillary.ts';
import { type Watch, watch } from '../../linux/watch.ts';
import type { ControlMessage } from '../device.ts';
import { encodeMessage, MAX_FDS, MAX_PACKET, type Message, parseMessage } from './control-message.ts';

/** Packets that wait for a slow peer; a peer that is slower is cut off. */
const MAX_UNSENT = 1024;
/** Requests of the peer at work at once. */
const MAX_CALLS = 4096;
const DEFAULT_DEADLINE_MS = 30_000;
/** Packets taken in one turn of the event loop. */
const BATCH = 64;

export interface Answer {
  readonly value: unknown;
  /** Sent with the answer; closed here afterwards when `closeFds` is set. */
  readonly fds?: readonly number[];
  readonly closeFds?: boolean;
}

export interface ControlLinkOptions {
  /** Of the device, for errors. */
  readonly name: string;
  /** Answers a request. The descriptors are the handler's to close. */
  handle(method: string, params: unknown, fds: readonly number[]): Promise<Answer> | Answer;
  /** The channel is closed, by either side; told once. */
  closed?(): void;
}

interface Pending {
  resolve(message: ControlMessage): void;
  reject(error: Error): void;
  readonly timer: NodeJS.Timeout;
}

interface Unsent {
  readonly bytes: Uint8Array;
  readonly fds: readonly number[];
  sent(): void;
}

export class ControlLink implements Disposable {
  readonly #fd: number;
  readonly #socket: FdSocket;
  readonly #options: ControlLinkOptions;
  readonly #buffer = new Uint8Array(MAX_PACKET);
  readonly #pending: Map<number, Pending> = new Map();
  readonly #unsent: Unsent[] = [];
  readonly #watch: Watch;
  /** For the peer to take more. */
  #waits = false;
  #nextId = 1;
  #calls = 0;
  #open = true;

  /** @param fd a connected SOCK_SEQPACKET socket, which belongs to the link from now on */
  constructor(fd: number, options: ControlLinkOptions) {
    this.#fd = fd;
    this.#socket = new FdSocket(fd, { maxFds: MAX_FDS });
    this.#options = options;
    this.#watch = watch(fd, { readable: true }, () => {
      this.#flush();
      if (this.#open) this.#receive();
    });
  }

  get open(): boolean {
    return this.#open;
  }

  /** Descriptors stay the caller's. @throws SDK_ERR_DEVICE_LINK, or what the other side answered */
  request(
    method: string,
    params: unknown,
    fds: readonly number[] = [],
    deadlineMs: number = DEFAULT_DEADLINE_MS,
  ): Promise<ControlMessage> {
    return new Promise((resolve, reject) => {
      if (!this.#open) return reject(this.#error('is closed'));
      const id = this.#nextId++;
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(this.#error(`has not answered "${method}" within ${deadlineMs / 1000} s`));
      }, deadlineMs);
      this.#pending.set(id, { resolve, reject, timer });
      if (this.#send({ kind: 'request', id, method, params }, fds)) return;
      this.#pending.delete(id);
      clearTimeout(timer);
      reject(this.#error(`cannot take "${method}": it is over ${MAX_PACKET} bytes long`));
    });
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#watch[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
    closeSync(this.#fd);
    for (const { sent } of this.#unsent.splice(0)) sent();
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer);
      reject(this.#error('has closed it'));
    }
    this.#pending.clear();
    this.#options.closed?.();
  }

  #receive(): void {
    for (let i = 0; i < BATCH && this.#open; i++) {
      const received = this.#attempt(() => this.#socket.receive(this.#buffer));
      if (received === undefined) return;
      const { bytes, fds, truncated } = received;
      const message = truncated || bytes === 0 ? undefined : parseMessage(this.#buffer.subarray(0, bytes));
      if (message === undefined) {
        closeAll(fds);
        this[Symbol.dispose]();
        return;
      }
      this.#take(message, fds);
    }
  }

  #take(message: Message, fds: readonly number[]): void {
    if (message.kind === 'request') {
      void this.#answer(message.id, message.method, message.params, fds);
      return;
    }
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return closeAll(fds);
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if (message.kind === 'answer') return pending.resolve({ value: message.value, fds });
    closeAll(fds);
    pending.reject(fromErrorRecord(message.error));
  }

  async #answer(id: number, method: string, params: unknown, fds: readonly number[]): Promise<void> {
    if (this.#calls >= MAX_CALLS) {
      closeAll(fds);
      this.#refuse(id, toErrorRecord(this.#error(`has over ${MAX_CALLS} requests at work`)));
      return;
    }
    this.#calls += 1;
    try {
      const answer = await this.#options.handle(method, params, fds);
      const given = answer.fds ?? [];
      const done = answer.closeFds === true ? () => closeAll(given) : () => {};
      if (!this.#send({ kind: 'answer', id, value: answer.value }, given, done)) {
        done();
        this.#refuse(id, toErrorRecord(this.#error(`would have answered "${method}" with over ${MAX_PACKET} bytes`)));
      }
    } catch (e) {
      this.#refuse(id, toErrorRecord(e));
    } finally {
      this.#calls -= 1;
    }
  }

  #refuse(id: number, error: ErrorRecord): void {
    const { code, remedy = '' } = error;
    const short = { code, message: error.message.slice(0, 4096), remedy: remedy.slice(0, 4096) };
    this.#send({ kind: 'refusal', id, error: short }, []);
  }

  /** False when it is too long to be sent. */
  #send(message: Message, fds: readonly number[], sent: () => void = () => {}): boolean {
    const bytes = encodeMessage(message);
    if (bytes === undefined) return false;
    if (!this.#open) {
      sent();
      return true;
    }
    this.#unsent.push({ bytes, fds, sent });
    if (this.#unsent.length === 1) this.#flush();
    else if (this.#unsent.length > MAX_UNSENT) this[Symbol.dispose]();
    return true;
  }

  #flush(): void {
    for (let next = this.#unsent[0]; next !== undefined && this.#open; next = this.#unsent[0]) {
      const { bytes, fds, sent } = next;
      if (this.#attempt(() => this.#socket.send(bytes, fds)) === undefined) break;
      this.#unsent.shift();
      sent();
    }
    const waits = this.#unsent.length > 0;
    if (!this.#open || waits === this.#waits) return;
    this.#waits = waits;
    this.#watch.setInterest({ readable: true, writable: waits });
  }

  /** A socket that fails is one whose other end is gone. */
  #attempt<T>(call: () => T | undefined): T | undefined {
    try {
      return call();
    } catch {
      this[Symbol.dispose]();
      return undefined;
    }
  }

  #error(why: string): Error {
    return errors.SDK_ERR_DEVICE_LINK({ details: { device: this.#options.name, why } });
  }
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeSync(fd);
}
