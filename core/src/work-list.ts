// Work that a plugin asked the runtime to wait for.

export class WorkList {
  readonly #open: Map<Promise<unknown>, string> = new Map();

  get labels(): readonly string[] {
    return [...this.#open.values()];
  }

  add<T>(label: string, work: Promise<T>): Promise<T> {
    this.#open.set(work, label);
    const settle = (): void => {
      this.#open.delete(work);
    };
    work.then(settle, settle);
    return work;
  }

  /** Resolves when there is none left, also of what was added meanwhile. Failures are the plugin's own business. */
  async idle(): Promise<void> {
    while (this.#open.size > 0) await Promise.allSettled(this.#open.keys());
  }
}
