// One request under way on the client: items to be read, input to be sent, a result to come.

import type { TerminalSize } from '../commands.ts';
import { errors } from '../core-errors.ts';
import { INPUT_CHUNK, INPUT_WINDOW, ITEM_WINDOW } from './protocol.ts';
import { ReceiveWindow, SendWindow } from './window.ts';

export type Outbound =
  | { readonly type: 'cancel' }
  | { readonly type: 'input-end' }
  | { readonly type: 'input'; readonly data: Uint8Array }
  | ({ readonly type: 'resize' } & TerminalSize)
  | { readonly type: 'credit'; readonly bytes: number };

export interface ExchangeOptions {
  readonly method: string;
  /** Returns the bytes of the frame. */
  readonly send: (message: Outbound) => number;
}

interface Received {
  readonly data: unknown;
  readonly bytes: number;
}

export class Exchange {
  readonly method: string;
  readonly #send: (message: Outbound) => number;
  readonly #result: PromiseWithResolvers<unknown> = Promise.withResolvers();
  readonly #over: AbortController = new AbortController();
  readonly #itemWindow: ReceiveWindow = new ReceiveWindow(ITEM_WINDOW);
  readonly #inputWindow: SendWindow = new SendWindow(INPUT_WINDOW);
  readonly #items: Received[] = [];
  #wake: (() => void) | undefined;
  #failure: { readonly error: unknown } | undefined;
  #cancelled = false;
  /** Nobody reads the items any more. */
  #deaf = false;

  constructor(options: ExchangeOptions) {
    this.method = options.method;
    this.#send = options.send;
    // Whoever only reads items learns of a failure there.
    this.#result.promise.catch(() => {});
  }

  get result(): Promise<unknown> {
    return this.#result.promise;
  }

  /** Aborted once the result or the failure is here. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** @throws CORE_ERR_WIRE when the server sent more than was granted */
  addItem(data: unknown, bytes: number): void {
    this.#itemWindow.accept(bytes);
    if (this.#deaf) return;
    this.#items.push({ data, bytes });
    this.#wake?.();
  }

  grant(bytes: number): void {
    this.#inputWindow.grant(bytes);
  }

  succeed(result: unknown): void {
    this.#result.resolve(result);
    this.#over.abort();
    this.#wake?.();
  }

  fail(error: unknown): void {
    this.#failure = { error };
    this.#result.reject(error);
    this.#over.abort();
    this.#wake?.();
  }

  /** Asks the server to end it. Items and the result may still arrive. */
  cancel(): void {
    if (this.#cancelled || this.#over.signal.aborted) return;
    this.#cancelled = true;
    this.#send({ type: 'cancel' });
  }

  /** In order, until the end; a failure comes after the items before it. Leaving the loop cancels the request. */
  async *items(): AsyncGenerator<unknown, void> {
    try {
      for (;;) {
        const next = this.#items.shift();
        if (next !== undefined) {
          const grant = this.#itemWindow.consume(next.bytes);
          if (grant > 0 && !this.#over.signal.aborted) this.#send({ type: 'credit', bytes: grant });
          yield next.data;
        } else if (this.#failure !== undefined) {
          throw this.#failure.error;
        } else if (this.#over.signal.aborted) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      this.#deaf = true;
      this.#items.length = 0;
      this.cancel();
    }
  }

  /** Sends all of `source` and the end of input, as fast as the server takes it; stops when the request is over. */
  async sendInput(source: AsyncIterable<Uint8Array>): Promise<void> {
    const ended = new Promise<undefined>((resolve) => {
      this.#over.signal.addEventListener('abort', () => resolve(undefined), { once: true });
    });
    const iterator = source[Symbol.asyncIterator]();
    while (!this.#over.signal.aborted) {
      const next = await Promise.race([iterator.next(), ended]);
      if (next === undefined) break;
      if (next.done) {
        if (!this.#over.signal.aborted) this.#send({ type: 'input-end' });
        return;
      }
      await this.#sendChunk(next.value);
    }
    // Not awaited: a source that waits for a key press ends only with the next one.
    void iterator.return?.();
  }

  /** Sends each size until `source` ends, or the request. */
  async sendSizes(source: AsyncIterable<TerminalSize>): Promise<void> {
    for await (const { columns, rows } of source) {
      if (this.#over.signal.aborted) return;
      this.#send({ type: 'resize', columns, rows });
    }
  }

  async #sendChunk(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += INPUT_CHUNK) {
      await this.#inputWindow.ready(this.#over.signal).catch(() => {});
      if (this.#over.signal.aborted) return;
      this.#inputWindow.spend(this.#send({ type: 'input', data: chunk.subarray(at, at + INPUT_CHUNK) }));
    }
  }
}

export function cancelled(what: string, cause?: unknown): Error {
  return errors.CORE_ERR_CANCELLED({ details: { what }, cause });
}
