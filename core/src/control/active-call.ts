// One request under way on the server: its items, its input, its end.

import type { Clock } from '../clock.ts';
import type { TerminalSize } from '../commands.ts';
import { errors } from '../core-errors.ts';
import { isRuntimeError } from '../errors.ts';
import { Latest } from '../latest.ts';
import type { Call } from './methods.ts';
import { INPUT_WINDOW, ITEM_WINDOW } from './protocol.ts';
import { ReceiveWindow, SendWindow } from './window.ts';

export type Outcome = { readonly result: unknown } | { readonly error: unknown };

export interface ActiveCallOptions {
  readonly method: string;
  readonly clock: Clock;
  /** Milliseconds that the handler may take to end after it was cancelled. */
  readonly cancelMs: number;
  /** Returns the bytes of the frame. */
  readonly sendItem: (data: unknown) => number;
  readonly sendCredit: (bytes: number) => void;
  /** Resolves when the connection takes more; rejects with the reason of `signal`. */
  readonly drained: (signal: AbortSignal) => Promise<void>;
  readonly finish: (outcome: Outcome) => void;
}

export class ActiveCall implements Call<unknown> {
  readonly #options: ActiveCallOptions;
  readonly #cancelled: AbortController = new AbortController();
  /** Aborted when nothing may be sent any more. */
  readonly #over: AbortController = new AbortController();
  readonly #items: SendWindow = new SendWindow(ITEM_WINDOW);
  readonly #inputs: ReceiveWindow = new ReceiveWindow(INPUT_WINDOW);
  #lastItem: Promise<void> = Promise.resolve();
  #inputQueue: { readonly chunk: Uint8Array; readonly bytes: number }[] = [];
  #inputEnded = false;
  #inputWake: (() => void) | undefined;
  #graceTimer: Disposable | undefined;

  readonly resizes: Latest<TerminalSize> = new Latest();

  constructor(options: ActiveCallOptions) {
    this.#options = options;
  }

  get signal(): AbortSignal {
    return this.#cancelled.signal;
  }

  run(work: () => Promise<unknown>): void {
    work().then(
      (result) => this.#endAfterItems({ result }),
      (error: unknown) => this.#endAfterItems({ error: this.#blame(error) }),
    );
  }

  /** One after the other, also for a handler that does not wait for them. */
  item(data: unknown): Promise<void> {
    const sent = this.#lastItem.then(() => this.#sendItem(data));
    this.#lastItem = sent.catch(() => {});
    return sent;
  }

  readonly input: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => ({ next: () => this.#nextInput() }),
  };

  grant(bytes: number): void {
    this.#items.grant(bytes);
  }

  /** @throws CORE_ERR_WIRE when it is not bytes, or not allowed now */
  addInput(data: unknown, bytes: number): void {
    if (!(data instanceof Uint8Array)) throw errors.CORE_ERR_WIRE({ details: { why: 'its "data" is not bytes' } });
    this.#inputs.accept(bytes);
    if (this.#inputEnded) return;
    this.#inputQueue.push({ chunk: data, bytes });
    this.#inputWake?.();
  }

  endInput(): void {
    this.#inputEnded = true;
    this.#inputWake?.();
  }

  /** The client wants no more; the handler may still say how it ended. */
  cancel(): void {
    if (this.#cancelled.signal.aborted) return;
    this.#cancelled.abort(this.#cancellation());
    this.endInput();
    this.resizes.end();
    this.#graceTimer = this.#options.clock.after(this.#options.cancelMs, () =>
      this.#end({ error: this.#cancellation() }),
    );
  }

  /** The client is gone. */
  abandon(): void {
    this.cancel();
    this.#end({ error: this.#cancellation() });
  }

  async #sendItem(data: unknown): Promise<void> {
    // A client that cancelled need not read on; what it left room for is still sent, such as a last line of output.
    await this.#items.ready(this.#cancelled.signal);
    await this.#options.drained(this.#over.signal);
    this.#items.spend(this.#options.sendItem(data));
  }

  async #endAfterItems(outcome: Outcome): Promise<void> {
    await this.#lastItem;
    this.#end(outcome);
  }

  #end(outcome: Outcome): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort(this.#cancellation());
    this.#graceTimer?.[Symbol.dispose]();
    this.endInput();
    this.resizes.end();
    this.#inputQueue = [];
    this.#options.finish(outcome);
  }

  async #nextInput(): Promise<IteratorResult<Uint8Array>> {
    for (;;) {
      const next = this.#inputQueue.shift();
      if (next !== undefined) {
        const grant = this.#inputs.consume(next.bytes);
        if (grant > 0) this.#options.sendCredit(grant);
        return { done: false, value: next.chunk };
      }
      if (this.#inputEnded) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#inputWake = resolve;
      });
    }
  }

  #cancellation(): Error {
    return errors.CORE_ERR_CANCELLED({ details: { what: this.#options.method } });
  }

  /** A handler that was cancelled usually fails with whatever its abort signal made of it. */
  #blame(error: unknown): unknown {
    if (!this.#cancelled.signal.aborted || isRuntimeError(error)) return error;
    return errors.CORE_ERR_CANCELLED({ details: { what: this.#options.method }, cause: error });
  }
}
