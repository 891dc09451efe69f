// Flow control of one stream: the receiver grants bytes, the sender stops when they are used up. The last frame may
// exceed what is left, so that a frame larger than the window gets through.

import { errors } from '../core-errors.ts';

export class SendWindow {
  #credit: number;
  #waiting: (() => void)[] = [];

  constructor(credit: number) {
    this.#credit = credit;
  }

  get open(): boolean {
    return this.#credit > 0;
  }

  spend(bytes: number): void {
    this.#credit -= bytes;
  }

  grant(bytes: number): void {
    this.#credit += bytes;
    if (this.open) this.#wake();
  }

  /** Resolves when something may be sent; while it may not, rejects with the reason of `signal`. */
  async ready(signal: AbortSignal): Promise<void> {
    if (this.open) return;
    const onAbort = (): void => this.#wake();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!this.open && !signal.aborted) {
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
    if (!this.open) signal.throwIfAborted();
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

export class ReceiveWindow {
  readonly #size: number;
  #left: number;
  #used = 0;

  constructor(size: number) {
    this.#size = size;
    this.#left = size;
  }

  /** @throws CORE_ERR_WIRE when the sender had no credit left */
  accept(bytes: number): void {
    if (this.#left <= 0) throw errors.CORE_ERR_WIRE({ details: { why: 'it was sent without credit' } });
    this.#left -= bytes;
  }

  /** Counts `bytes` as consumed. Returns what to grant the sender now: 0 until half of the window is used. */
  consume(bytes: number): number {
    this.#used += bytes;
    if (this.#used * 2 < this.#size) return 0;
    const grant = this.#used;
    this.#used = 0;
    this.#left += grant;
    return grant;
  }
}
