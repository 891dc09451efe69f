// When what was written has to be on stable storage, and what waits for it. One fdatasync serves all that wait at a time:
// flushes, clusters that are being set aside, entries that may only be written once the data is safe, and clusters that
// nothing refers to any more.

import { type Request, RequestQueue } from './request.ts';

/** Clusters that may wait for a sync before one is begun for their sake. */
const MAX_DROPPED = 4096;

export interface SyncWork {
  /** Begins an fdatasync, and calls `ended` later. False: there is no room for it now. */
  begin(): boolean;
  /** Before it begins. @throws what it failed with */
  prepare(): void;
  /** After it: the data of these requests is safe. */
  commit(request: Request): void;
  /** After it. */
  prepared(): void;
  flushed(request: Request): void;
  /** Nothing refers to these clusters on stable storage, and nothing is in flight that did. */
  release(runs: readonly number[]): void;
  /** Nothing can be made safe any more. */
  failed(request: Request, errno: number): void;
}

export class SyncCycle {
  readonly commits = new RequestQueue();
  readonly flushes = new RequestQueue();
  readonly #work: SyncWork;
  readonly #committing = new RequestQueue();
  readonly #flushing = new RequestQueue();
  #running = false;
  #wanted = false;
  /** Runs, as first and count, of clusters that entries referred to until now. */
  #dropped: number[] = [];
  #droppedClusters = 0;
  /** Of these the entries are gone from stable storage once `#durable`; they wait for operations that began before. */
  #leaving: number[] = [];
  #durable = false;
  /** Operations in flight by generation; a generation ends when clusters begin to leave. */
  readonly #inFlight: [number, number] = [0, 0];
  #generation: 0 | 1 = 0;

  constructor(work: SyncWork) {
    this.#work = work;
  }

  /** An operation on data begins, ends. */
  enter(request: Request): void {
    request.generation = this.#generation;
    this.#inFlight[this.#generation] += 1;
  }

  leave(request: Request): void {
    this.#inFlight[request.generation as 0 | 1] -= 1;
    this.#release();
  }

  /** Entries referred to these clusters until now. */
  drop(first: number, count: number): void {
    const { length } = this.#dropped;
    if (length > 0 && (this.#dropped[length - 2] as number) + (this.#dropped[length - 1] as number) === first)
      (this.#dropped[length - 1] as number) += count;
    else this.#dropped.push(first, count);
    this.#droppedClusters += count;
    if (this.#droppedClusters > MAX_DROPPED) this.want();
  }

  /** Everything up to now is to be made safe soon. */
  want(): void {
    this.#wanted = true;
  }

  /** Begins a sync if one is wanted and none is running. */
  run(): void {
    if (!this.#wanted || this.#running) return;
    try {
      this.#work.prepare();
    } catch {
      // Told to those who waited for it; the others still want the sync.
    }
    if (!this.#work.begin()) return;
    this.#running = true;
    this.#wanted = false;
    this.#committing.take(this.commits);
    this.#flushing.take(this.flushes);
    if (this.#leaving.length > 0 || this.#dropped.length === 0) return;
    this.#leaving = this.#dropped;
    this.#dropped = [];
    this.#droppedClusters = 0;
    this.#durable = false;
    this.#generation = this.#generation === 0 ? 1 : 0;
  }

  /** @param errno 0, or a negative one */
  ended(errno: number): void {
    this.#running = false;
    for (;;) {
      const request = this.#committing.shift();
      if (request === undefined) break;
      if (errno === 0) this.#work.commit(request);
      else this.#work.failed(request, errno);
    }
    for (;;) {
      const request = this.#flushing.shift();
      if (request === undefined) break;
      if (errno === 0) this.#work.flushed(request);
      else this.#work.failed(request, errno);
    }
    if (errno !== 0) return;
    this.#work.prepared();
    this.#durable = true;
    this.#release();
  }

  /** With nothing in flight and all on stable storage: what was dropped can go at once. */
  settle(): void {
    this.#work.release([...this.#leaving, ...this.#dropped]);
    this.#leaving = [];
    this.#dropped = [];
    this.#droppedClusters = 0;
    this.#wanted = false;
  }

  #release(): void {
    if (!this.#durable || this.#leaving.length === 0) return;
    if (this.#inFlight[this.#generation === 0 ? 1 : 0] > 0) return;
    const runs = this.#leaving;
    this.#leaving = [];
    this.#work.release(runs);
  }
}
