// The runtime's end of the connection to the process of a plugin. It keeps the limits: whatever comes, or does not come,
// at worst this link fails.

import type { Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import { errors } from '../core-errors.ts';
import { encodeFrame, FrameDecoder } from '../wire/frames.ts';
import { decodeValue, encodeValue, type JsonObject } from '../wire/value.ts';
import { FLOOD_MS, FRAME_BYTES, type HostLimits, MAX_CALLS, MAX_UNREAD } from './limits.ts';
import { type CallOptions, Rpc, type RpcHandlers } from './rpc.ts';

/** Pings within the time after which a process counts as unresponsive. Several, since the runtime itself may be late. */
const PINGS = 5;
const SECOND = 1000;
/** Milliseconds between the end of the channel and that of the process. */
const LAST_WORDS_MS = 1_000;

export interface HostLinkOptions {
  readonly plugin: string;
  readonly limits: HostLimits;
  readonly clock: Clock;
  readonly messages: Socket;
  readonly sync: Socket;
  readonly handlers: RpcHandlers;
  /** Answers at once; the process is blocked until then. */
  readonly answerSync: (method: string, args: readonly unknown[], context: number | undefined) => unknown;
  /** Said with every ping: whether anybody listens to traces. */
  readonly tracing: () => boolean;
  /** Looked at with every ping; what it returns ends the link. */
  readonly inspect: () => Error | undefined;
  /** Called once. The link is closed by then. */
  readonly onFailure: (error: Error) => void;
}

export class HostLink {
  readonly #options: HostLinkOptions;
  readonly #rpc: Rpc;
  readonly #syncDecoder: FrameDecoder = new FrameDecoder(FRAME_BYTES);
  #closed = false;
  #pingTimer: Disposable | undefined;
  #heard = false;
  #missed = 0;
  #isWatched = false;
  /** Messages that may come now; refilled with time, up to those of a second. */
  #allowance: number;
  #refilledAt: number;
  #throttle: Disposable | undefined;
  #throttledSince: number | undefined;

  constructor(options: HostLinkOptions) {
    this.#options = options;
    const { messages, sync, handlers, clock, limits } = options;
    this.#allowance = limits.messagesPerSecond;
    this.#refilledAt = clock.now();
    this.#rpc = new Rpc({
      write: (frame) => this.#write(messages, frame),
      handlers,
      frameBytes: FRAME_BYTES,
      maxCalls: MAX_CALLS,
    });
    this.#listen(messages, (chunk) => this.#rpc.receive(chunk));
    this.#listen(sync, (chunk) => this.#receiveSync(chunk));
    this.#ping();
  }

  call(method: string, args: readonly unknown[], options: CallOptions): Promise<unknown> {
    return this.#rpc.call(method, args, options);
  }

  tell(method: string, args: readonly unknown[], context?: number): void {
    this.#rpc.tell(method, args, context);
  }

  /** From now on silence counts. Not before: while a process starts and loads code it may well be silent. */
  watch(): void {
    this.#isWatched = true;
  }

  /** Calls under way end with `reason`. */
  close(reason: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pingTimer?.[Symbol.dispose]();
    this.#throttle?.[Symbol.dispose]();
    this.#rpc.close(reason);
    this.#options.messages.destroy();
    this.#options.sync.destroy();
  }

  fail(error: Error): void {
    if (this.#closed) return;
    this.close(error);
    this.#options.onFailure(error);
  }

  #listen(socket: Socket, receive: (chunk: Uint8Array) => number): void {
    // 'close' follows.
    socket.on('error', () => {});
    socket.on('close', () => {
      // Usually it ended, and how is known in a moment.
      if (!this.#closed) this.#options.clock.after(LAST_WORDS_MS, () => this.fail(this.#gone('it closed its channel')));
    });
    socket.on('data', (chunk) => {
      if (this.#closed) return;
      this.#heard = true;
      try {
        this.#count(receive(chunk));
      } catch (cause) {
        this.fail(this.#gone('it broke the protocol', cause));
      }
    });
    socket.resume();
  }

  #receiveSync(chunk: Uint8Array): number {
    let frames = 0;
    this.#syncDecoder.push(chunk, (frame) => {
      frames += 1;
      this.#write(this.#options.sync, this.#syncAnswer(frame));
    });
    return frames;
  }

  #syncAnswer(frame: JsonObject): string {
    const { id, m, a, p } = frame;
    const args = decodeValue(a ?? null);
    if (typeof id !== 'number' || typeof m !== 'string' || !Array.isArray(args)) {
      throw errors.CORE_ERR_WIRE({ details: { why: 'it is not a synchronous request' } });
    }
    try {
      const value = this.#options.answerSync(m, args, typeof p === 'number' ? p : undefined);
      return encodeFrame({ id, v: encodeValue(value) }, FRAME_BYTES);
    } catch (error) {
      return encodeFrame({ id, e: encodeValue(error) }, FRAME_BYTES);
    }
  }

  #write(socket: Socket, frame: string): void {
    if (this.#closed) return;
    socket.write(frame);
    if (socket.writableLength > MAX_UNREAD) {
      // Not from within the call that wrote: its caller does not expect that everything ends.
      queueMicrotask(() => this.fail(this.#gone(`it left ${MAX_UNREAD} bytes unread`)));
    }
  }

  #ping(): void {
    const { clock, limits, plugin, tracing, inspect } = this.#options;
    this.#pingTimer = clock.after(limits.unresponsiveMs / PINGS, () => {
      // A throttled process may have answered what was not read yet.
      const isExcused = !this.#isWatched || this.#throttle !== undefined;
      this.#missed = this.#heard || isExcused ? 0 : this.#missed + 1;
      this.#heard = false;
      if (this.#missed >= PINGS) {
        this.fail(errors.CORE_ERR_HOST_UNRESPONSIVE({ plugin, details: { plugin, ms: limits.unresponsiveMs } }));
        return;
      }
      const problem = inspect();
      if (problem !== undefined) {
        this.fail(problem);
        return;
      }
      this.tell('ping', [tracing()]);
      this.#ping();
    });
  }

  /** Slows a process down that sends more than it may, and gives it up when it goes on. */
  #count(frames: number): void {
    const { clock, limits, plugin } = this.#options;
    const { messagesPerSecond } = limits;
    const now = clock.now();
    const earned = ((now - this.#refilledAt) * messagesPerSecond) / SECOND;
    this.#allowance = Math.min(messagesPerSecond, this.#allowance + earned) - frames;
    this.#refilledAt = now;
    if (this.#allowance > messagesPerSecond / 2) this.#throttledSince = undefined;
    if (this.#allowance >= 0 || this.#throttle !== undefined) return;
    this.#throttledSince ??= now;
    if (now - this.#throttledSince >= FLOOD_MS) {
      const why = `it sent more than ${messagesPerSecond} messages a second for ${FLOOD_MS} ms`;
      this.fail(errors.CORE_ERR_HOST_FLOOD({ plugin, details: { plugin, why } }));
      return;
    }
    const { messages, sync } = this.#options;
    for (const socket of [messages, sync]) socket.pause();
    this.#throttle = clock.after((-this.#allowance * SECOND) / messagesPerSecond, () => {
      this.#throttle = undefined;
      for (const socket of [messages, sync]) socket.resume();
    });
  }

  #gone(how: string, cause?: unknown): Error {
    const { plugin } = this.#options;
    return errors.CORE_ERR_HOST_GONE({ plugin, details: { plugin, how }, cause });
  }
}
