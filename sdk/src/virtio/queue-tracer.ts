// Watching the requests of a device: every chain that is taken from a queue or given back, for as long as somebody looks.

import type { Chain } from './chain.ts';
import type { Virtqueue } from './virtqueue.ts';

/** One chain, taken or given back. */
export interface QueueRecord {
  /** Microseconds of the monotonic clock, clock_gettime(2). */
  readonly us: number;
  readonly queue: number;
  readonly what: 'pop' | 'push';
  readonly head: number;
  /** Bytes for the device to read and to write; of a push, those written. */
  readonly readable: number;
  readonly writable: number;
  /** Of a push: microseconds since it was taken. */
  readonly tookUs?: number;
}

export interface TraceBatch {
  readonly records: readonly QueueRecord[];
  /** Records lost since the last batch, since nobody fetched them in time. */
  readonly missed: number;
}

/** Records kept until they are fetched; about what one answer of the control channel holds. */
const MAX_RECORDS = 512;
/** Nobody looks any more, ms. */
const FORGET_MS = 2_000;

export class QueueTracer {
  #records: QueueRecord[] = [];
  #missed = 0;
  #watched = false;
  #timer: NodeJS.Timeout | undefined;
  readonly #onChange: () => void;

  /** @param onChange queues are to be wrapped anew, or no longer */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  /** What happened since the last call; the first one begins. */
  fetch(): TraceBatch {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#set(false), FORGET_MS);
    this.#timer.unref();
    if (!this.#watched) this.#set(true);
    const batch = { records: this.#records, missed: this.#missed };
    this.#records = [];
    this.#missed = 0;
    return batch;
  }

  /** The queue itself while nobody looks: then tracing costs nothing. */
  wrap(queue: Virtqueue): Virtqueue {
    return this.#watched ? new TracedQueue(queue, (record) => this.#keep(record)) : queue;
  }

  #set(watched: boolean): void {
    this.#watched = watched;
    this.#records = [];
    this.#missed = 0;
    this.#onChange();
  }

  #keep(record: QueueRecord): void {
    // A device may go on using a queue that it got while somebody looked.
    if (!this.#watched) return;
    if (this.#records.length < MAX_RECORDS) this.#records.push(record);
    else this.#missed += 1;
  }
}

class TracedQueue implements Virtqueue {
  readonly #queue: Virtqueue;
  readonly #keep: (record: QueueRecord) => void;
  readonly #taken: Map<number, number> = new Map();

  constructor(queue: Virtqueue, keep: (record: QueueRecord) => void) {
    this.#queue = queue;
    this.#keep = keep;
  }

  get index(): number {
    return this.#queue.index;
  }
  get size(): number {
    return this.#queue.size;
  }
  get stats(): Virtqueue['stats'] {
    return this.#queue.stats;
  }
  get broken(): string | undefined {
    return this.#queue.broken;
  }
  get refusal(): string | undefined {
    return this.#queue.refusal;
  }
  get outstanding(): number {
    return this.#queue.outstanding;
  }

  pop(): Chain | undefined {
    const chain = this.#queue.pop();
    if (chain === undefined) return undefined;
    const us = now();
    const { head, readableBytes: readable, writableBytes: writable } = chain;
    this.#taken.set(head, us);
    this.#keep({ us, queue: this.index, what: 'pop', head, readable, writable });
    return chain;
  }

  push(head: number, written: number): void {
    this.#queue.push(head, written);
    const us = now();
    const taken = this.#taken.get(head);
    this.#taken.delete(head);
    const took = taken === undefined ? {} : { tookUs: us - taken };
    this.#keep({ us, queue: this.index, what: 'push', head, readable: 0, writable: written, ...took });
  }

  flush(): boolean {
    return this.#queue.flush();
  }
  enableNotifications(): boolean {
    return this.#queue.enableNotifications();
  }
  disableNotifications(): void {
    this.#queue.disableNotifications();
  }
  base(): number {
    return this.#queue.base();
  }
  stop(): number {
    return this.#queue.stop();
  }
  setCall(fd: number): void {
    this.#queue.setCall(fd);
  }
}

function now(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}
