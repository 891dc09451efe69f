// Ownership. Every registration a plugin makes lands in its scope; unloading the plugin closes the scope.

import { errors } from './core-errors.ts';

export type Cleanup = () => void | Promise<void>;

interface Entry {
  readonly label: string;
  readonly run: Cleanup;
}

export class Scope implements AsyncDisposable {
  readonly owner: string;
  readonly #abort: AbortController = new AbortController();
  /** A Set keeps insertion order and removes in O(1). */
  #entries: Set<Entry> = new Set();
  #closing: Promise<void> | undefined;
  #closed = false;

  constructor(owner: string) {
    this.owner = owner;
  }

  /** Aborted as the first act of closing: pass it to fetch, timers, streams, calls. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** True from the first moment of closing on. */
  get closed(): boolean {
    return this.#closed;
  }

  /** What the scope still holds, oldest first. */
  get labels(): readonly string[] {
    return Array.from(this.#entries, (e) => e.label);
  }

  /**
   * Runs `cleanup` when the scope closes, or when the returned handle is disposed, whichever is first; never twice.
   * @throws CORE_ERR_SCOPE_CLOSED after closing began; the cleanup then runs at once, since nothing may outlive its owner.
   */
  defer(label: string, cleanup: Cleanup): Disposable {
    if (this.#closed) {
      void Promise.resolve()
        .then(cleanup)
        .catch(() => {});
      throw errors.CORE_ERR_SCOPE_CLOSED({ details: { owner: this.owner, label } });
    }
    const entry: Entry = { label, run: cleanup };
    this.#entries.add(entry);
    return {
      [Symbol.dispose]: () => {
        if (this.#entries.delete(entry)) void entry.run();
      },
    };
  }

  /** Defers the disposal of `value` and returns it. */
  use<T extends Disposable | AsyncDisposable>(label: string, value: T): T {
    this.defer(label, () =>
      Symbol.asyncDispose in value ? Promise.resolve(value[Symbol.asyncDispose]()) : value[Symbol.dispose](),
    );
    return value;
  }

  /**
   * Runs every cleanup, newest first. Idempotent.
   * @throws AggregateError of all cleanups that failed, after all ran.
   */
  close(reason?: unknown): Promise<void> {
    this.#closing ??= this.#close(reason);
    return this.#closing;
  }

  async #close(reason: unknown): Promise<void> {
    this.#closed = true;
    this.#abort.abort(reason);
    const failures: unknown[] = [];
    const newestFirst = [...this.#entries].reverse();
    for (const entry of newestFirst) {
      // Disposed by an earlier cleanup.
      if (!this.#entries.delete(entry)) continue;
      try {
        await entry.run();
      } catch (cause) {
        failures.push(errors.CORE_ERR_CLEANUP({ cause, details: { owner: this.owner, label: entry.label } }));
      }
    }
    if (failures.length > 0) {
      throw new AggregateError(failures, `${failures.length} cleanup(s) of ${this.owner} failed`);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
