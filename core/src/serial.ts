// One thing at a time, in the order of asking.

export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  /** Runs `work` when everything asked for before has ended, well or not. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  /** Resolves when nothing is under way any more. */
  async idle(): Promise<void> {
    for (let last: unknown; last !== this.#last; ) {
      last = this.#last;
      await this.#last;
    }
  }
}
