// The first thread's handle on another one.

import { extname, join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { fromErrorRecord } from '@runtime/core/errors';
import type { FromMate, MateEvent, MateMethod, MateMethods, MateStart } from './team-messages.ts';

/** `.ts` when the sdk runs from its sources. */
const PROGRAM = join(import.meta.dirname, `mate-main${extname(import.meta.filename)}`);
/** Of its JavaScript heap, in MiB. */
const MAX_HEAP_MIB = 96;

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Mate {
  readonly #worker: Worker;
  readonly #pending: Map<number, Pending> = new Map();
  #nextId = 1;
  #ended = false;

  private constructor(onEvent: (event: MateEvent) => void, onDeath: (error: Error) => void) {
    // Not imported: most device processes have one thread.
    const threads = process.getBuiltinModule('node:worker_threads');
    this.#worker = new threads.Worker(PROGRAM, {
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
      // It closes copies of descriptors that it was handed by number.
      trackUnmanagedFds: false,
    });
    this.#worker.on('message', (message: FromMate) => this.#take(message, onEvent));
    this.#worker.on('error', onDeath);
    this.#worker.on('exit', () => {
      this.#ended = true;
      for (const { reject } of this.#pending.values()) reject(new Error('the thread has ended'));
      this.#pending.clear();
    });
  }

  /** @param onDeath what the thread threw: its queues are lost, and so is the device process */
  static async start(
    start: MateStart,
    onEvent: (event: MateEvent) => void,
    onDeath: (error: Error) => void,
  ): Promise<Mate> {
    const mate = new Mate(onEvent, onDeath);
    try {
      await mate.ask('start', start);
      return mate;
    } catch (e) {
      await mate.#worker.terminate();
      throw e;
    }
  }

  ask<M extends MateMethod>(method: M, params: MateMethods[M][0]): Promise<MateMethods[M][1]> {
    return new Promise((resolve, reject) => {
      if (this.#ended) return reject(new Error('the thread has ended'));
      const id = this.#nextId++;
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.#worker.postMessage({ kind: 'request', id, method, params });
    });
  }

  async close(): Promise<void> {
    await this.ask('close', null).catch(() => {});
    await this.#worker.terminate();
  }

  #take(message: FromMate, onEvent: (event: MateEvent) => void): void {
    if (message.kind !== 'answer' && message.kind !== 'refusal') return onEvent(message);
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (message.kind === 'answer') pending?.resolve(message.value);
    else pending?.reject(fromErrorRecord(message.error));
  }
}
