// A log of bounded size: when the file is full it is put aside, and the one put aside before is dropped.

import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Twice as much is kept at most. */
export const MAX_CONSOLE_LOG = 1024 * 1024;

export class RotatingLog implements Disposable {
  readonly path: string;
  readonly #limit: number;
  #fd: number;
  #size: number;

  /** Goes on with the file that is there. */
  constructor(path: string, limit: number = MAX_CONSOLE_LOG) {
    this.path = path;
    this.#limit = limit;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#fd = openSync(path, 'a', 0o600);
    this.#size = fstatSync(this.#fd).size;
  }

  /** A disk that is full costs the log, not the console. */
  write(bytes: Uint8Array): void {
    if (this.#fd < 0) return;
    try {
      for (let from = 0; from < bytes.length; ) {
        if (this.#size >= this.#limit) this.#rotate();
        const part = bytes.subarray(from, from + this.#limit - this.#size);
        const written = writeSync(this.#fd, part);
        this.#size += written;
        from += written;
      }
    } catch {
      this[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #rotate(): void {
    closeSync(this.#fd);
    this.#fd = -1;
    renameSync(this.path, `${this.path}.1`);
    this.#fd = openSync(this.path, 'a', 0o600);
    this.#size = 0;
  }
}
