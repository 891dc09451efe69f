// A value that changes, for a reader that only wants the last one.

export class Latest<T> implements AsyncIterable<T> {
  #value: { readonly value: T } | undefined;
  #isEnded = false;
  #wake: (() => void) | undefined;

  set(value: T): void {
    if (this.#isEnded) return;
    this.#value = { value };
    this.#wake?.();
  }

  /** What was set before is still given. */
  end(): void {
    this.#isEnded = true;
    this.#wake?.();
  }

  /** To be read by one loop. */
  [Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    return { next: () => this.#next() };
  }

  async #next(): Promise<IteratorResult<T, undefined>> {
    for (;;) {
      const next = this.#value;
      this.#value = undefined;
      if (next !== undefined) return { done: false, value: next.value };
      if (this.#isEnded) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
