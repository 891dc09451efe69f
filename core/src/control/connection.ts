// The server's end of one connection: reads messages, runs requests, keeps the limits. Whatever the peer sends, at worst
// this connection ends.

import type { Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import { errors } from '../core-errors.ts';
import { isRuntimeError, toErrorRecord } from '../errors.ts';
import type { Logger } from '../logging.ts';
import { didYouMean } from '../nearest.ts';
import { explainIssues, issuesToText } from '../schema-issues.ts';
import { encodeFrame, FrameDecoder } from '../wire/frames.ts';
import { decodeValue, encodeValue } from '../wire/value.ts';
import { ActiveCall } from './active-call.ts';
import type { MethodName } from './method-types.ts';
import { type Call, HANDLERS, type Handler, type MethodDeps } from './methods.ts';
import { type ClientMessage, type ControlLimits, type HelloMessage, parseClientMessage } from './protocol.ts';
import { PARAMS } from './schemas.ts';

/** How long the peer may take to read the last words. */
const FAREWELL_MS = 1_000;

export interface ConnectionDeps extends MethodDeps {
  readonly hello: HelloMessage;
  readonly limits: ControlLimits;
  readonly clock: Clock;
  readonly log: Logger;
}

type Request = Extract<ClientMessage, { type: 'request' }>;

/** Where the bytes go: a socket, or what a test puts in its place. */
export type PeerSocket = Pick<Socket, 'write' | 'end' | 'destroy' | 'pause' | 'resume' | 'writableLength' | 'on'>;

export class ControlConnection {
  readonly #socket: PeerSocket;
  readonly #deps: ConnectionDeps;
  readonly #decoder: FrameDecoder;
  readonly #calls: Map<number, ActiveCall> = new Map();
  /** Messages that may be read now; refilled with time. */
  #allowance: number;
  #refilledAt: number;
  #frameTimer: Disposable | undefined;
  #paused = false;
  #closed = false;
  /** What goes on once the peer has read everything, or is gone. */
  readonly #onDrain: Set<() => void> = new Set();

  constructor(socket: PeerSocket, deps: ConnectionDeps) {
    this.#socket = socket;
    this.#deps = deps;
    this.#decoder = new FrameDecoder(deps.limits.frameBytes);
    this.#allowance = deps.limits.messagesPerSecond;
    this.#refilledAt = deps.clock.now();
    socket.on('drain', () => this.#wake());
    this.#write(deps.hello);
  }

  get requests(): number {
    return this.#calls.size;
  }

  /** Bytes from the peer, cut anywhere. */
  receive(chunk: Uint8Array): void {
    if (this.#closed) return;
    let frames = 0;
    try {
      this.#decoder.push(chunk, (frame, bytes) => {
        frames += 1;
        if (!this.#closed) this.#handle(parseClientMessage(frame), bytes);
      });
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#watchFrame(frames > 0);
    this.#throttle(frames);
  }

  /** Says why, and ends the connection. */
  fail(error: unknown): void {
    if (this.#closed) return;
    if (!isRuntimeError(error)) this.#deps.log.error({ err: error }, 'a control connection failed');
    this.#write({ type: 'error', error: toErrorRecord(error) });
    this.close();
    this.#socket.end();
    // `end` waits for the peer to read; this does not.
    const timer = this.#deps.clock.after(FAREWELL_MS, () => this.#socket.destroy());
    this.#socket.on('close', () => timer[Symbol.dispose]());
  }

  /** The socket is gone, or about to be: everything under way is cancelled. */
  close(): void {
    this.#closed = true;
    this.#frameTimer?.[Symbol.dispose]();
    for (const call of this.#calls.values()) call.abandon();
    this.#calls.clear();
    this.#wake();
  }

  #handle(message: ClientMessage, bytes: number): void {
    if (message.type === 'request') {
      this.#request(message);
      return;
    }
    // The other messages may cross the end of their request on the way.
    const call = this.#calls.get(message.id);
    if (message.type === 'cancel') call?.cancel();
    else if (message.type === 'credit') call?.grant(message.bytes);
    else if (message.type === 'input') call?.addInput(decodeValue(message.data), bytes);
    else if (message.type === 'resize') call?.resizes.set({ columns: message.columns, rows: message.rows });
    else call?.endInput();
  }

  #request(request: Request): void {
    const { id } = request;
    if (this.#calls.has(id)) throw errors.CORE_ERR_WIRE({ details: { why: `request ${id} is still under way` } });
    try {
      const { handler, params } = this.#resolve(request);
      this.#start(id, request.method, handler, params);
    } catch (error) {
      this.#write({ type: 'error', id, error: toErrorRecord(error) });
    }
  }

  /** @throws CORE_ERR_CONTROL_LIMIT, CORE_ERR_CONTROL_METHOD, CORE_ERR_CONTROL_PARAMS, CORE_ERR_WIRE_VALUE */
  #resolve({ method, params }: Request): { readonly handler: Handler<MethodName>; readonly params: object } {
    const { requests } = this.#deps.limits;
    if (this.#calls.size >= requests) {
      throw errors.CORE_ERR_CONTROL_LIMIT({ details: { why: `${requests} are under way on this connection` } });
    }
    if (!isMethod(method)) {
      throw errors.CORE_ERR_CONTROL_METHOD({ details: { method, nearest: didYouMean(method, Object.keys(HANDLERS)) } });
    }
    const parsed = PARAMS[method].safeParse(decodeValue(params));
    if (!parsed.success) {
      const why = issuesToText(explainIssues(PARAMS[method], parsed.error));
      throw errors.CORE_ERR_CONTROL_PARAMS({ details: { method, why } });
    }
    // The schema of this very method accepted the parameters, which the compiler cannot follow through the union.
    return { handler: HANDLERS[method] as Handler<MethodName>, params: parsed.data };
  }

  #start(id: number, method: string, handler: Handler<MethodName>, params: object): void {
    const call = new ActiveCall({
      method,
      clock: this.#deps.clock,
      cancelMs: this.#deps.limits.cancelMs,
      sendItem: (data) => this.#write({ type: 'item', id, data: encodeValue(data) }),
      sendCredit: (bytes) => void this.#write({ type: 'credit', id, bytes }),
      drained: (signal) => this.#drained(signal),
      finish: (outcome) => this.#finish(id, outcome),
    });
    this.#calls.set(id, call);
    call.run(async () => handler(params as never, call as Call<unknown> as Call<never>, this.#deps));
  }

  #finish(id: number, outcome: { readonly result: unknown } | { readonly error: unknown }): void {
    if (!this.#calls.delete(id)) return;
    try {
      if ('result' in outcome) {
        this.#write({ type: 'result', id, data: encodeValue(outcome.result) });
        return;
      }
      this.#write({ type: 'error', id, error: toErrorRecord(outcome.error) });
    } catch (error) {
      // The answer cannot be sent, being too long for instance; why not always can.
      this.#write({ type: 'error', id, error: toErrorRecord(error) });
    }
  }

  /** @returns bytes of the frame. @throws CORE_ERR_WIRE when it is too long */
  #write(message: object): number {
    const frame = encodeFrame(message, this.#deps.limits.frameBytes);
    if (!this.#closed) this.#socket.write(frame);
    return Buffer.byteLength(frame);
  }

  async #drained(signal: AbortSignal): Promise<void> {
    const full = (): boolean => this.#socket.writableLength > this.#deps.limits.bufferedBytes;
    while (full() && !signal.aborted) {
      await new Promise<void>((resolve) => this.#onDrain.add(resolve));
    }
    signal.throwIfAborted();
  }

  /** Those who wait look again. */
  #wake(): void {
    const waiting = [...this.#onDrain];
    this.#onDrain.clear();
    for (const resume of waiting) resume();
  }

  /** A peer that begins a frame and does not end it is let go. */
  #watchFrame(frameEnded: boolean): void {
    if (frameEnded || this.#decoder.buffered === 0) {
      this.#frameTimer?.[Symbol.dispose]();
      this.#frameTimer = undefined;
    }
    if (this.#decoder.buffered === 0) return;
    const ms = this.#deps.limits.frameMs;
    this.#frameTimer ??= this.#deps.clock.after(ms, () => {
      this.fail(errors.CORE_ERR_WIRE({ details: { why: `it took more than ${ms} ms to arrive` } }));
    });
  }

  /** Reads on later when the peer sends too much, or does not read what it is sent. */
  #throttle(frames: number): void {
    const { messagesPerSecond, bufferedBytes } = this.#deps.limits;
    const now = this.#deps.clock.now();
    const earned = ((now - this.#refilledAt) * messagesPerSecond) / 1000;
    this.#allowance = Math.min(messagesPerSecond, this.#allowance + earned) - frames;
    this.#refilledAt = now;
    if (this.#paused || this.#closed) return;
    if (this.#allowance < 0) {
      this.#pauseUntil((resume) => this.#deps.clock.after((-this.#allowance * 1000) / messagesPerSecond, resume));
    } else if (this.#socket.writableLength > bufferedBytes) {
      this.#pauseUntil((resume) => this.#onDrain.add(resume));
    }
  }

  #pauseUntil(arrange: (resume: () => void) => void): void {
    this.#paused = true;
    this.#socket.pause();
    arrange(() => {
      this.#paused = false;
      if (!this.#closed) this.#socket.resume();
    });
  }
}

function isMethod(method: string): method is MethodName {
  return Object.hasOwn(HANDLERS, method);
}
