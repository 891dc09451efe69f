// Timeouts of many things that all wait equally long, with one timer: they expire in the order in which they came.

export class Deadlines<T> implements Disposable {
  readonly #ms: number;
  readonly #expired: (item: T) => void;
  readonly #due = new Map<T, number>();
  #timer: NodeJS.Timeout | undefined;

  /** @param ms how long each may wait */
  constructor(ms: number, expired: (item: T) => void) {
    this.#ms = ms;
    this.#expired = expired;
  }

  get size(): number {
    return this.#due.size;
  }

  /** Starts its time, anew when it waits already. */
  start(item: T): void {
    this.#due.delete(item);
    this.#due.set(item, performance.now() + this.#ms);
    this.#timer ??= this.#arm(this.#ms);
  }

  stop(item: T): void {
    this.#due.delete(item);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due.clear();
  }

  #arm(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#look(), ms).unref();
  }

  #look(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const [item, at] of this.#due) {
      // A timer may fire a moment early.
      if (at > now + 1) {
        this.#timer ??= this.#arm(at - now);
        return;
      }
      this.#due.delete(item);
      this.#expired(item);
    }
  }
}
