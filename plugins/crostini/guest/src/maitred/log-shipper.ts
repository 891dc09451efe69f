// Sends what the machine logs to the host, in batches: the kernel's log from its first line on, and what programs write
// that maitred has started.

import type { LogItem, LogQueue } from './log-queue.ts';

export interface LogShipperOptions {
  readonly queue: LogQueue;
  /** @throws when the host did not take it */
  readonly send: (kind: LogItem['kind'], items: readonly LogItem[]) => Promise<void>;
  /** Between two looks at the queue, ms; default 1000. */
  readonly everyMs?: number;
}

const EVERY_MS = 1000;
/** When the host does not take it: twice as long each time. */
const MAX_WAIT_MS = 30_000;

export class LogShipper implements Disposable {
  readonly #options: LogShipperOptions;
  readonly #everyMs: number;
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<boolean> | undefined;
  #wait: number;
  #ended = false;

  constructor(options: LogShipperOptions) {
    this.#options = options;
    this.#everyMs = options.everyMs ?? EVERY_MS;
    this.#wait = this.#everyMs;
    this.#schedule();
  }

  /** Sends all there is, once. */
  async flush(): Promise<void> {
    await this.#sending;
    await this.#send();
  }

  [Symbol.dispose](): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#ended) return;
    this.#timer = setTimeout(async () => {
      this.#sending = this.#send();
      const taken = await this.#sending;
      this.#wait = taken ? this.#everyMs : Math.min(2 * this.#wait, MAX_WAIT_MS);
      this.#schedule();
    }, this.#wait);
  }

  /** False: the host does not take it now. */
  async #send(): Promise<boolean> {
    const { queue, send } = this.#options;
    for (let batch = queue.take(Date.now()); batch !== undefined; batch = queue.take(Date.now())) {
      try {
        await send(batch.kind, batch.items);
      } catch {
        // Not logged: that would have to be sent, too.
        queue.putBack(batch);
        return false;
      }
    }
    return true;
  }
}
