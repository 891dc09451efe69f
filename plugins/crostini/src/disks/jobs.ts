// What is being done with disks: one thing at a time with each, a bounded number of things at once, and what became of them.

import { randomUUID } from 'node:crypto';
import { isRuntimeError, toErrorRecord } from '@runtime/sdk';
import type { DiskJob, DiskJobKind } from '../contract-disks.ts';
import { errors } from '../errors.ts';

/** Jobs that have ended and can still be asked about. */
const REMEMBERED = 64;
const PROGRESS_MS = 1000;

export interface JobControl {
  readonly uuid: string;
  /** Aborted when the job is cancelled or the runtime ends. */
  readonly signal: AbortSignal;
  /** 0 to 1; goes up only. */
  progress(fraction: number): void;
}

export interface JobRequest {
  readonly kind: DiskJobKind;
  readonly owner: string;
  readonly vm: string;
  /** Whether it may be given up in the middle. */
  readonly cancellable: boolean;
  /** Leaves nothing unfinished behind, however it ends. */
  run(control: JobControl): Promise<void>;
}

interface Entry {
  job: DiskJob;
  readonly cancellable: boolean;
  readonly controller: AbortController;
  ended: Promise<void>;
}

export interface JobsOptions {
  /** At once. */
  readonly max: number;
  onProgress(job: DiskJob): void;
  onEnd(job: DiskJob): void;
}

export class Jobs implements AsyncDisposable {
  readonly #options: JobsOptions;
  readonly #entries: Map<string, Entry> = new Map();
  /** Disks that something is being done with. */
  readonly #held: Set<string> = new Set();

  constructor(options: JobsOptions) {
    this.#options = options;
  }

  isHeld(owner: string, vm: string): boolean {
    return this.#held.has(keyOf(owner, vm));
  }

  /** Keeps others from the disk while `work` goes on. @throws CROSTINI_ERR_DISK_OP_IN_PROGRESS */
  async exclusively<T>(owner: string, vm: string, work: () => Promise<T>): Promise<T> {
    const release = this.#hold(owner, vm);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** `prepare` is waited for, and what it throws is thrown; what it answers is done afterwards. @throws CROSTINI_ERR_DISK_OP_IN_PROGRESS, CROSTINI_ERR_DISK_BUSY */
  async begin(owner: string, vm: string, prepare: (uuid: string) => Promise<JobRequest>): Promise<DiskJob> {
    const running = this.list().filter(({ state }) => state === 'running').length;
    if (running >= this.#options.max) throw errors.CROSTINI_ERR_DISK_BUSY({ details: { max: this.#options.max } });
    const release = this.#hold(owner, vm);
    try {
      const uuid = randomUUID();
      const request = await prepare(uuid);
      return this.#start(uuid, request, release);
    } catch (e) {
      release();
      throw e;
    }
  }

  list(): readonly DiskJob[] {
    return Array.from(this.#entries.values(), ({ job }) => job);
  }

  get(uuid: string): DiskJob {
    return this.#entry(uuid).job;
  }

  async wait(uuid: string, waitMs: number): Promise<DiskJob> {
    const entry = this.#entry(uuid);
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, waitMs);
    await Promise.race([entry.ended, late.promise]);
    clearTimeout(timer);
    return entry.job;
  }

  async cancel(uuid: string): Promise<void> {
    const { job, cancellable, controller, ended } = this.#entry(uuid);
    if (job.state !== 'running') return;
    if (!cancellable) throw errors.CROSTINI_ERR_DISK_JOB_LASTS({ details: { uuid } });
    controller.abort(errors.CROSTINI_ERR_DISK_CANCELLED());
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { controller } of this.#entries.values()) controller.abort(errors.CROSTINI_ERR_DISK_CANCELLED());
    await Promise.all(Array.from(this.#entries.values(), ({ ended }) => ended));
  }

  #entry(uuid: string): Entry {
    const entry = this.#entries.get(uuid);
    if (entry === undefined) throw errors.CROSTINI_ERR_DISK_JOB_NOT_FOUND({ details: { uuid: uuid.slice(0, 64) } });
    return entry;
  }

  #hold(owner: string, vm: string): () => void {
    const key = keyOf(owner, vm);
    if (this.#held.has(key)) throw errors.CROSTINI_ERR_DISK_OP_IN_PROGRESS({ details: { vm } });
    this.#held.add(key);
    return () => this.#held.delete(key);
  }

  #start(uuid: string, request: JobRequest, release: () => void): DiskJob {
    const { kind, owner, vm, cancellable } = request;
    const job: DiskJob = { uuid, kind, owner, vm, state: 'running', percent: 0, error: undefined };
    const entry: Entry = { job, cancellable, controller: new AbortController(), ended: Promise.resolve() };
    this.#entries.set(uuid, entry);
    entry.ended = this.#run(entry, request, release);
    return entry.job;
  }

  async #run(entry: Entry, request: JobRequest, release: () => void): Promise<void> {
    const { signal } = entry.controller;
    const progress = (fraction: number): void => {
      if (!Number.isFinite(fraction)) return;
      const percent = Math.max(entry.job.percent, Math.min(100, Math.floor(fraction * 100)));
      entry.job = { ...entry.job, percent };
    };
    const timer = setInterval(() => this.#options.onProgress(entry.job), PROGRESS_MS);
    try {
      await request.run({ uuid: entry.job.uuid, signal, progress });
      entry.job = { ...entry.job, state: 'done', percent: 100 };
    } catch (e) {
      const isCancelled = signal.aborted && isRuntimeError(signal.reason, 'CROSTINI_ERR_DISK_CANCELLED');
      entry.job = isCancelled
        ? { ...entry.job, state: 'cancelled' }
        : { ...entry.job, state: 'failed', error: toErrorRecord(e) };
    } finally {
      clearInterval(timer);
      release();
    }
    this.#forget();
    this.#options.onEnd(entry.job);
  }

  #forget(): void {
    const ended = this.list().filter(({ state }) => state !== 'running');
    for (const { uuid } of ended.slice(0, Math.max(0, ended.length - REMEMBERED))) this.#entries.delete(uuid);
  }
}

/** Owners have no spaces. */
const keyOf = (owner: string, vm: string): string => `${owner} ${vm}`;
