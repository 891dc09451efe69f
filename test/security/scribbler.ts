// A second CPU of the guest that writes all over its memory while the device looks at it. Between two lives it rests.

import { Worker } from 'node:worker_threads';
import { PAGE_SIZE } from '@runtime/sdk/linux';
import type { GuestRam } from '@runtime/sdk/testing';
import { turn } from './target.ts';

/** Words of the memory that both threads share. */
export const SCRIBBLER = { wanted: 0, working: 1 } as const;

export interface ScribblerData {
  readonly control: Int32Array<SharedArrayBuffer>;
  readonly fd: number;
  readonly length: number;
  readonly offset: number;
  readonly size: number;
}

export class Scribbler implements AsyncDisposable {
  readonly #control = new Int32Array(new SharedArrayBuffer(8));
  readonly #worker: Worker;

  constructor({ files }: GuestRam) {
    const [file] = files;
    if (file === undefined) throw new Error('the guest has no memory');
    const { fd, offset, size } = file;
    const workerData: ScribblerData = { control: this.#control, fd, offset, size, length: offset + size + PAGE_SIZE };
    this.#worker = new Worker(new URL('../programs/scribble.ts', import.meta.url), { workerData });
    this.#worker.unref();
  }

  start(): void {
    Atomics.store(this.#control, SCRIBBLER.wanted, 1);
    Atomics.notify(this.#control, SCRIBBLER.wanted);
  }

  /** Resolves when nothing more is written. */
  async stop(): Promise<void> {
    Atomics.store(this.#control, SCRIBBLER.wanted, 0);
    while (Atomics.load(this.#control, SCRIBBLER.working) !== 0) await turn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#worker.terminate();
  }
}
