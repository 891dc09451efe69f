// What the process of a plugin registered with the runtime: listeners, taps, leases, commands, checks. When the process
// ends unasked, all of it stays, and the next process takes over what it registers again under the same key; in between
// calls wait and nobody else gets the lease. What it does not register again goes once it is ready.

import { errors } from '../core-errors.ts';
import { encodeValue } from '../wire/value.ts';
import { MAX_REGISTRATIONS } from './limits.ts';

interface Entry {
  /** What was asked for; another request under the same key is another registration. */
  readonly signature: string;
  readonly handle: Disposable;
  claimed: boolean;
}

export class Registrations {
  readonly #plugin: string;
  readonly #entries: Map<string, Entry> = new Map();

  constructor(plugin: string) {
    this.#plugin = plugin;
  }

  /** What `make` returned now, or for the process before. */
  claim<T extends Disposable>(key: string, request: unknown, make: () => T): T {
    const signature = JSON.stringify(encodeValue(request));
    const known = this.#entries.get(key);
    if (known !== undefined && !known.claimed) {
      if (known.signature === signature) {
        known.claimed = true;
        return known.handle as T;
      }
      this.release(key);
    }
    if (this.#entries.size >= MAX_REGISTRATIONS) {
      const why = `it registered more than ${MAX_REGISTRATIONS} things`;
      throw errors.CORE_ERR_HOST_FLOOD({ plugin: this.#plugin, details: { plugin: this.#plugin, why } });
    }
    const handle = make();
    this.#entries.set(key, { signature, handle, claimed: true });
    return handle;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Registered by the process that runs now. */
  isClaimed(key: string): boolean {
    return this.#entries.get(key)?.claimed === true;
  }

  release(key: string): void {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    entry?.handle[Symbol.dispose]();
  }

  /** The process is gone; another will come. */
  disown(): void {
    for (const entry of this.#entries.values()) entry.claimed = false;
  }

  /** The process is ready: what it did not ask for again is not needed. */
  sweep(): void {
    for (const [key, { claimed }] of this.#entries) if (!claimed) this.release(key);
  }
}
