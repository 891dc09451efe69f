// A bounded queue between a producer that cannot wait (events, traces) and a reader that may be slow. What does not fit
// is counted, and the count is delivered in its place.

export type Delivery<T> = { readonly value: T } | { readonly dropped: number };

export class Mailbox<T> {
  readonly #limit: number;
  #queue: Delivery<T>[] = [];
  #dropped = 0;
  #wake: (() => void) | undefined;

  constructor(limit: number) {
    this.#limit = limit;
  }

  push(value: T): void {
    if (this.#queue.length >= this.#limit) {
      this.#dropped += 1;
      return;
    }
    if (this.#dropped > 0) {
      this.#queue.push({ dropped: this.#dropped });
      this.#dropped = 0;
    }
    this.#queue.push({ value });
    this.#wake?.();
  }

  /** Everything that arrives, until `signal` is aborted. */
  async *deliveries(signal: AbortSignal): AsyncGenerator<Delivery<T>, void> {
    const onAbort = (): void => this.#wake?.();
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted) {
        const batch = this.#queue;
        if (batch.length > 0) {
          this.#queue = [];
          yield* batch;
        } else if (this.#dropped > 0) {
          const count = this.#dropped;
          this.#dropped = 0;
          yield { dropped: count };
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}
