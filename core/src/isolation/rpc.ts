// Messages between a runtime and the process of a plugin, the same in both directions: calls that are answered, and
// tellings that are not.

import { errors } from '../core-errors.ts';
import { encodeFrame, FrameDecoder } from '../wire/frames.ts';
import { decodeValue, encodeValue, type JsonObject } from '../wire/value.ts';

export interface RpcHandlers {
  /** @param context what {@link RpcOptions.context} gave on the other side */
  call(method: string, args: readonly unknown[], context: number | undefined, signal: AbortSignal): unknown;
  tell(method: string, args: readonly unknown[], context: number | undefined): void;
}

export interface RpcOptions {
  readonly write: (frame: string) => void;
  readonly handlers: RpcHandlers;
  /** Bytes of a frame. */
  readonly frameBytes: number;
  /** Calls of the other side that may be under way. */
  readonly maxCalls: number;
  /** Names, for the other side, what it is that the present work belongs to; sent with everything. */
  readonly context?: (() => number | undefined) | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Instead of that of {@link RpcOptions.context}. */
  readonly context?: number | undefined;
}

interface Outgoing {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

const MAX_METHOD = 64;

export class Rpc {
  readonly #options: RpcOptions;
  readonly #decoder: FrameDecoder;
  readonly #outgoing: Map<number, Outgoing> = new Map();
  readonly #incoming: Map<number, AbortController> = new Map();
  #lastId = 0;
  #closed: Error | undefined;

  constructor(options: RpcOptions) {
    this.#options = options;
    this.#decoder = new FrameDecoder(options.frameBytes);
  }

  /** Calls of ours that are not answered yet. */
  get pending(): number {
    return this.#outgoing.size;
  }

  /** @throws (rejects with) what the other side threw, the reason of {@link close}, CORE_ERR_WIRE_VALUE */
  call(method: string, args: readonly unknown[], options: CallOptions = {}): Promise<unknown> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    this.#lastId += 1;
    const id = this.#lastId;
    const { signal } = options;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    try {
      this.#send({ t: 'call', id, m: method, a: encodeValue(args) }, options.context);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#outgoing.set(id, { resolve, reject });
    if (signal !== undefined) {
      const onAbort = (): void => {
        if (this.#closed === undefined) this.#send({ t: 'abort', id });
      };
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
      const done = (): void => signal.removeEventListener('abort', onAbort);
      promise.then(done, done);
    }
    return promise;
  }

  /** Does nothing once closed. @throws CORE_ERR_WIRE_VALUE, CORE_ERR_WIRE */
  tell(method: string, args: readonly unknown[], context?: number): void {
    if (this.#closed === undefined) this.#send({ t: 'tell', m: method, a: encodeValue(args) }, context);
  }

  /**
   * Bytes from the other side. Returns the number of frames in them.
   * @throws CORE_ERR_WIRE, CORE_ERR_WIRE_VALUE when it does not keep to the protocol
   */
  receive(chunk: Uint8Array): number {
    let frames = 0;
    this.#decoder.push(chunk, (frame) => {
      frames += 1;
      if (this.#closed === undefined) this.#handle(frame);
    });
    return frames;
  }

  /** Calls under way in either direction end. */
  close(reason: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    for (const { reject } of this.#outgoing.values()) reject(reason);
    this.#outgoing.clear();
    for (const controller of this.#incoming.values()) controller.abort(reason);
    this.#incoming.clear();
  }

  #send(message: { readonly [key: string]: unknown }, context: number | undefined = this.#options.context?.()): void {
    const whole = context === undefined ? message : { ...message, p: context };
    this.#options.write(encodeFrame(whole, this.#options.frameBytes));
  }

  #handle(frame: JsonObject): void {
    switch (frame.t) {
      case 'call':
        this.#answer(idOf(frame), methodOf(frame), argsOf(frame), contextOf(frame));
        break;
      case 'tell':
        this.#options.handlers.tell(methodOf(frame), argsOf(frame), contextOf(frame));
        break;
      case 'done':
        this.#take(idOf(frame))?.resolve(decodeValue(frame.v ?? null));
        break;
      case 'fail':
        this.#take(idOf(frame))?.reject(decodeValue(frame.e ?? null));
        break;
      case 'abort':
        this.#incoming.get(idOf(frame))?.abort();
        break;
      default:
        refuse('its type is unknown');
    }
  }

  #take(id: number): Outgoing {
    const outgoing = this.#outgoing.get(id) ?? refuse('it answers what was not asked');
    this.#outgoing.delete(id);
    return outgoing;
  }

  #answer(id: number, method: string, args: readonly unknown[], context: number | undefined): void {
    if (this.#incoming.has(id)) refuse(`call ${id} is still under way`);
    if (this.#incoming.size >= this.#options.maxCalls) refuse(`${this.#incoming.size} calls are under way`);
    const controller = new AbortController();
    this.#incoming.set(id, controller);
    const settle = (answer: () => void): void => {
      if (!this.#incoming.delete(id)) return;
      try {
        answer();
      } catch (error) {
        // The answer cannot be sent, being too long for instance; why not always can.
        this.#send({ t: 'fail', id, e: encodeValue(error) });
      }
    };
    const fail = (error: unknown): void => settle(() => this.#send({ t: 'fail', id, e: encodeValue(asError(error)) }));
    let result: unknown;
    try {
      result = this.#options.handlers.call(method, args, context, controller.signal);
    } catch (error) {
      fail(error);
      return;
    }
    Promise.resolve(result).then((value) => settle(() => this.#send({ t: 'done', id, v: encodeValue(value) })), fail);
  }
}

/** What is thrown need not be an error, nor anything that can be sent. */
function asError(thrown: unknown): unknown {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

function refuse(why: string): never {
  throw errors.CORE_ERR_WIRE({ details: { why } });
}

function idOf(frame: JsonObject): number {
  const { id } = frame;
  return typeof id === 'number' && Number.isSafeInteger(id) && id > 0 ? id : refuse('"id" is not a positive integer');
}

function methodOf(frame: JsonObject): string {
  const { m } = frame;
  return typeof m === 'string' && m.length <= MAX_METHOD ? m : refuse('"m" is not the name of a method');
}

function argsOf(frame: JsonObject): readonly unknown[] {
  const args = decodeValue(frame.a ?? null);
  return Array.isArray(args) ? args : refuse('"a" is not a list');
}

function contextOf(frame: JsonObject): number | undefined {
  const { p } = frame;
  return p === undefined || (typeof p === 'number' && Number.isSafeInteger(p)) ? p : refuse('"p" is not an integer');
}
