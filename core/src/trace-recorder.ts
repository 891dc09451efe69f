// The flight recorder: the last records of a runtime, so that "why did this happen?" can be answered afterwards.

import type { TraceRecord, Tracer } from './tracing.ts';

export class TraceRecorder implements Disposable {
  readonly #limit: number;
  /** Insertion order is age; a span's `end` or `error` replaces its `start`. */
  readonly #records: Map<number, TraceRecord> = new Map();
  readonly #subscription: Disposable;

  /** @param limit how many records are kept, at least 1 */
  constructor(tracer: Tracer, limit: number) {
    this.#limit = Math.max(1, limit);
    this.#subscription = tracer.subscribe((record) => this.#keep(record));
  }

  get records(): readonly TraceRecord[] {
    return [...this.#records.values()];
  }

  /** The record `id` first, then what caused it, and so on; empty when it is no longer kept. */
  why(id: number): readonly TraceRecord[] {
    const chain: TraceRecord[] = [];
    for (let next = this.#records.get(id); next !== undefined && chain.length < this.#limit; ) {
      chain.push(next);
      // A cause is always older; anything else would be a loop.
      next = next.cause < next.id ? this.#records.get(next.cause) : undefined;
    }
    return chain;
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]();
  }

  #keep(record: TraceRecord): void {
    this.#records.set(record.id, record);
    if (this.#records.size > this.#limit) {
      const oldest = this.#records.keys().next();
      if (!oldest.done) this.#records.delete(oldest.value);
    }
  }
}
