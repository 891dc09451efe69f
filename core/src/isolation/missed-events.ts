// Events that came while the process of a plugin was being started again.

import type { RuntimeEvent } from '../events.ts';

/** The oldest go first, as from the history of a topic. */
const MAX_MISSED = 1024;

export class MissedEvents {
  #events: { readonly key: string; readonly event: RuntimeEvent }[] = [];

  /** @param key the listener it is for */
  add(key: string, event: RuntimeEvent): void {
    this.#events.push({ key, event });
    if (this.#events.length > MAX_MISSED) this.#events.shift();
  }

  /** Those of one listener, which are forgotten with that. */
  take(key: string): readonly RuntimeEvent[] {
    const mine = this.#events.filter((missed) => missed.key === key).map(({ event }) => event);
    if (mine.length > 0) this.#events = this.#events.filter((missed) => missed.key !== key);
    return mine;
  }
}
