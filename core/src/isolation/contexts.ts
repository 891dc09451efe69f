// What a message from the process of a plugin belongs to. Work that the runtime hands to the process gets a number; what
// comes back with that number runs in the asynchronous context of then, so that causes, labels and phases hold across.

import { AsyncLocalStorage } from 'node:async_hooks';

type Runner = <T>(fn: () => T) => T;

/** Numbers that nobody gives back, such as those of events. */
const MAX_LENT = 256;

/** Outside of any work. */
const runOutside: Runner = AsyncLocalStorage.snapshot();

export class ContextTable {
  readonly #runners: Map<number, Runner> = new Map();
  readonly #lent: number[] = [];
  #last = 0;

  /** A number for the present context, until it is closed. */
  open(): number {
    this.#last += 1;
    this.#runners.set(this.#last, AsyncLocalStorage.snapshot());
    return this.#last;
  }

  /** The same, until many others have been lent. */
  lend(): number {
    const id = this.open();
    this.#lent.push(id);
    if (this.#lent.length > MAX_LENT) this.#runners.delete(this.#lent.shift() as number);
    return id;
  }

  /** Under a number that the process chose; it has the negative ones. */
  adopt(id: number): void {
    this.#runners.set(id, AsyncLocalStorage.snapshot());
  }

  close(id: number): void {
    this.#runners.delete(id);
  }

  run<T>(id: number | undefined, fn: () => T): T {
    const runner = id === undefined ? undefined : this.#runners.get(id);
    return (runner ?? runOutside)(fn);
  }
}
