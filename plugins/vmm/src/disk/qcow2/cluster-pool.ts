// Clusters set aside for writes to come. Each is counted as used and reads as zeroes, and both is on stable storage
// before it is handed out: so an entry that begins to refer to one needs no barrier of its own. What was not used is
// counted as free again when the image is closed; after a crash it is found by the check that the dirty bit causes.

import type { ImageFile } from '../image-file.ts';
import type { Refcounts } from './refcounts.ts';

/** Bytes set aside at a time: at first, and at most, when much is written. */
const MIN_BYTES = 2 ** 20;
const MAX_BYTES = 64 * 2 ** 20;
const MIN_CLUSTERS = 16;
const MAX_CLUSTERS = 65_536;
/** Pieces that free space between used clusters is taken in at a time. */
const MAX_RUNS = 256;

/** Runs of clusters: first, count, first, count, … */
type Runs = number[];

export class ClusterPool {
  readonly #file: ImageFile;
  readonly #refcounts: Refcounts;
  readonly #isReserved: (offset: number) => boolean;
  readonly #clusterSize: number;
  /** Clusters of the file. */
  #end: number;
  /** No cluster before it is free. */
  #hint = 0;
  #wanted: number;
  #free = 0;
  #ready: Runs = [];
  #preparing: Runs = [];

  constructor(file: ImageFile, refcounts: Refcounts, isReserved: (offset: number) => boolean) {
    this.#file = file;
    this.#refcounts = refcounts;
    this.#isReserved = isReserved;
    this.#clusterSize = refcounts.clusterSize;
    this.#end = Math.ceil(file.size() / this.#clusterSize);
    this.#wanted = Math.min(MAX_CLUSTERS, Math.max(MIN_CLUSTERS, MIN_BYTES / this.#clusterSize));
  }

  /** Clusters that can be taken. */
  get free(): number {
    return this.#free;
  }

  /** So few are left that more should be made ready. */
  get low(): boolean {
    return this.#free < this.#wanted / 2 && this.#preparing.length === 0;
  }

  /** What take() would give at most. */
  get run(): number {
    return this.#ready[1] ?? 0;
  }

  /** The first of up to `count` adjacent clusters, at most `run`. */
  take(count: number): number {
    const first = this.#ready[0] as number;
    this.#free -= count;
    if (count === this.#ready[1]) this.#ready.splice(0, 2);
    else {
      this.#ready[0] = first + count;
      (this.#ready[1] as number) -= count;
    }
    return first;
  }

  /** Gives back what was taken and not used; nothing was written to it. */
  giveBack(first: number, count: number): void {
    this.#free += count;
    this.#ready.unshift(first, count);
  }

  /**
   * Chooses clusters and counts them as used. They can be taken once the file was synced and `ready` called.
   * @throws what writing failed with; then the pool is as it was, and some clusters may be lost until the next check
   */
  prepare(): void {
    const runs: Runs = [];
    const wanted = this.#wanted;
    let missing = wanted - this.#collect(runs, wanted);
    const bytes = Math.min(MAX_BYTES, this.#clusterSize * MAX_CLUSTERS);
    if (this.#wanted * 2 * this.#clusterSize <= bytes) this.#wanted *= 2;
    if (runs.length === MAX_RUNS * 2) missing = 0;
    const oldEnd = this.#end;
    try {
      if (missing > 0) this.#append(runs, missing);
      for (let at = 0; at < runs.length; at += 2) {
        const first = runs[at] as number;
        const count = runs[at + 1] as number;
        for (let index = 0; index < count; index += 1) this.#refcounts.set(first + index, 1);
        // What they held before must not show through.
        if (first < oldEnd) this.#file.punch(first * this.#clusterSize, count * this.#clusterSize);
      }
      this.#refcounts.flush();
    } catch (e) {
      this.#refcounts.forget();
      this.#end = Math.ceil(this.#file.size() / this.#clusterSize);
      throw e;
    }
    this.#preparing = runs;
  }

  /** What was prepared is on stable storage. */
  ready(): void {
    for (let at = 1; at < this.#preparing.length; at += 2) this.#free += this.#preparing[at] as number;
    this.#ready.push(...this.#preparing);
    this.#preparing = [];
  }

  /** Adjacent clusters at the end of the file, counted as used; durable once the file was synced. For tables. */
  allocate(count: number): number {
    const runs: Runs = [];
    this.#append(runs, count);
    const first = runs[0] as number;
    for (let index = 0; index < count; index += 1) this.#refcounts.set(first + index, 1);
    this.#refcounts.flush();
    return first;
  }

  /** One reference less to each; on stable storage nothing refers to them any more. @returns clusters that became free */
  release(first: number, count: number): number {
    let freed = 0;
    let run = 0;
    for (let cluster = first; cluster <= first + count; cluster += 1) {
      const said = cluster < first + count ? this.#refcounts.get(cluster) : 0;
      if (said > 0) this.#refcounts.set(cluster, said - 1);
      // A count of 0 was wrong: whose the cluster is nobody knows.
      if (said === 1) run += 1;
      else if (run > 0) {
        freed += run;
        this.#hint = Math.min(this.#hint, cluster - run);
        this.#file.punch((cluster - run) * this.#clusterSize, run * this.#clusterSize);
        run = 0;
      }
    }
    return freed;
  }

  /** Counts what was not used as free. */
  close(): void {
    for (const runs of [this.#ready, this.#preparing])
      for (let at = 0; at < runs.length; at += 2) {
        const first = runs[at] as number;
        this.#hint = Math.min(this.#hint, first);
        for (let index = 0; index < (runs[at + 1] as number); index += 1) this.#refcounts.set(first + index, 0);
      }
    this.#ready = [];
    this.#preparing = [];
    this.#free = 0;
    this.#refcounts.flush();
    // The tail of the file that nothing is in.
    let end = this.#end;
    while (end > 1 && this.#refcounts.get(end - 1) === 0) end -= 1;
    if (end === this.#end) return;
    this.#file.truncate(end * this.#clusterSize);
    this.#end = end;
  }

  /** Free clusters between used ones. @returns how many */
  #collect(runs: Runs, wanted: number): number {
    let found = 0;
    let cluster = this.#hint;
    while (found < wanted && runs.length < MAX_RUNS * 2) {
      cluster = this.#refcounts.findFree(cluster, this.#end);
      if (cluster === this.#end) break;
      // A count of 0 of something in use: only an image that is damaged has it.
      if (!this.#isReserved(cluster * this.#clusterSize) && this.#hasBlock(cluster)) {
        const last = runs.length - 2;
        if (last >= 0 && (runs[last] as number) + (runs[last + 1] as number) === cluster)
          (runs[last + 1] as number) += 1;
        else runs.push(cluster, 1);
        found += 1;
      }
      cluster += 1;
    }
    this.#hint = cluster;
    return found;
  }

  #hasBlock(cluster: number): boolean {
    return this.#refcounts.hasBlock(Math.floor(cluster / this.#refcounts.perBlock));
  }

  #append(runs: Runs, count: number): void {
    let first = this.#end;
    // Counts of what is beyond the end are 0 but in a file that was cut off.
    for (let cluster = first; cluster < first + 2 * count; cluster += 1)
      if (this.#refcounts.get(cluster) !== 0) first = cluster + 1;
    const usable = this.#refcounts.cover(first, count);
    this.#end = usable + count;
    this.#file.truncate(this.#end * this.#clusterSize);
    runs.push(usable, count);
  }
}
