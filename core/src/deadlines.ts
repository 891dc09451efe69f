// Very many deadlines of the same length, of which hardly any is ever reached. Adding and removing one is two Set
// operations; a timer of its own for each would cost more than the call it guards.

import type { Clock } from './clock.ts';

/** A deadline fires after its length and at most a quarter more. */
const SLICES = 4;

export interface Deadline {
  readonly expire: () => void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #sliceMs: number;
  /** The newest first. What falls off the end has expired. */
  readonly #slices: Set<Deadline>[] = [];
  #ticking = false;

  /** @param ms length of each deadline */
  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#sliceMs = Math.max(1, ms / SLICES);
    for (let i = 0; i <= SLICES; i++) this.#slices.push(new Set());
  }

  /** @returns where it is kept: delete it there once it is not needed */
  add(deadline: Deadline): Set<Deadline> {
    const slice = this.#slices[0] as Set<Deadline>;
    slice.add(deadline);
    if (!this.#ticking) this.#tick();
    return slice;
  }

  #tick(): void {
    this.#ticking = true;
    this.#clock.after(this.#sliceMs, () => {
      const expired = this.#slices.pop() as Set<Deadline>;
      this.#slices.unshift(new Set());
      this.#ticking = this.#slices.some((slice) => slice.size > 0);
      if (this.#ticking) this.#tick();
      for (const deadline of expired) deadline.expire();
    });
  }
}
