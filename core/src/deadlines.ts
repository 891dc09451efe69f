// Very many deadlines, of which hardly any is ever reached. A timer for each would cost more than the call it guards, so
// calls are looked at now and then, and know by themselves when they are late.

import type { Clock } from './clock.ts';

/** Looks per deadline: it is noticed after its length and at most a quarter more. */
const LOOKS = 8;

/** What is looked at. It is itself a member of a list, as a place in a Set would cost as much as a short call. */
export abstract class Watched {
  /** Of {@link Deadlines}. */
  list: Deadlines | undefined;
  next: Watched | undefined;
  previous: Watched | undefined;

  /**
   * What began since the last look begins at this one.
   * @param now of the clock, in ms
   */
  abstract look(now: number): void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #everyMs: number;
  #first: Watched | undefined;
  #ticking = false;

  /** @param ms the shortest deadline of what is watched */
  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#everyMs = Math.max(1, ms / LOOKS);
  }

  add(watched: Watched): void {
    const first = this.#first;
    watched.list = this;
    watched.next = first;
    if (first !== undefined) first.previous = watched;
    this.#first = watched;
    if (!this.#ticking) this.#tick();
  }

  delete(watched: Watched): void {
    if (watched.list !== this) return;
    const { next, previous } = watched;
    watched.list = undefined;
    watched.next = undefined;
    watched.previous = undefined;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next !== undefined) next.previous = previous;
  }

  #tick(): void {
    this.#ticking = true;
    this.#clock.after(this.#everyMs, () => {
      const now = this.#clock.now();
      // A look may take away any of them, and add others.
      for (const watched of [...this.#all()]) if (watched.list === this) watched.look(now);
      this.#ticking = this.#first !== undefined;
      if (this.#ticking) this.#tick();
    });
  }

  *#all(): Generator<Watched> {
    for (let at = this.#first; at !== undefined; at = at.next) yield at;
  }
}
