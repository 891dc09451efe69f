// The device's own state through a pipe of the front end: SET_DEVICE_STATE_FD, "Migrating back-end state".

import { closeSync, fstatSync, readSync, writeSync } from 'node:fs';
import { errors } from '../../errors.ts';
import { type Interest, type Watch, watch } from '../../linux/watch.ts';

/** A pipe that is writable takes so much without blocking, pipe(7): PIPE_BUF. */
const CHUNK = 4096;

/** One transfer. It owns the descriptor and closes it at the end: the front end waits for that. */
export class StateTransfer {
  readonly #fd: number;
  #watch: Watch | undefined;
  #resolve: ((ready: boolean) => void) | undefined;
  #stop: (() => void) | undefined;
  #cancelled = false;
  /** `undefined` when all went well. */
  readonly done: Promise<unknown>;

  static save(fd: number, give: () => Uint8Array): StateTransfer {
    return new StateTransfer(fd, async (transfer) => transfer.#writeAll(give()));
  }

  static load(fd: number, limit: number, take: (state: Uint8Array) => void): StateTransfer {
    return new StateTransfer(fd, async (transfer) => take(await transfer.#readAll(limit)));
  }

  private constructor(fd: number, work: (transfer: StateTransfer) => Promise<void>) {
    this.#fd = fd;
    this.done = work(this)
      .then(
        () => undefined,
        (e: unknown) => e,
      )
      .finally(() => this.#close());
  }

  /** Ends it early; `done` says so. */
  cancel(): void {
    this.#cancelled = true;
    this.#stop?.();
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      if (!(await this.#ready({ writable: true }))) throw gone();
      at += attempt(() => writeSync(this.#fd, bytes, at, Math.min(CHUNK, bytes.length - at)));
    }
  }

  async #readAll(limit: number): Promise<Uint8Array> {
    const parts: Buffer[] = [];
    let total = 0;
    for (;;) {
      if (!(await this.#ready({ readable: true }))) throw gone();
      const part = Buffer.allocUnsafe(65_536);
      const count = attempt(() => readSync(this.#fd, part), -1);
      if (count === 0) return Buffer.concat(parts);
      if (count < 0) continue;
      total += count;
      if (total > limit) {
        const why = `the state has more than ${limit} bytes`;
        throw errors.SDK_ERR_VHOST_USER_REFUSED({ details: { request: 'SET_DEVICE_STATE_FD', why } });
      }
      parts.push(part.subarray(0, count));
    }
  }

  /** False when it was cancelled. A file is always ready. */
  #ready(interest: Interest): Promise<boolean> {
    return new Promise((resolve) => {
      this.#stop = () => resolve(false);
      if (this.#cancelled) {
        resolve(false);
        return;
      }
      if (fstatSync(this.#fd).isFile()) {
        setImmediate(resolve, true);
        return;
      }
      this.#resolve = resolve;
      if (this.#watch !== undefined) this.#watch.setInterest(interest);
      else {
        this.#watch = watch(this.#fd, interest, () => {
          this.#watch?.setInterest({});
          this.#resolve?.(true);
        });
      }
    });
  }

  #close(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    this.#stop = undefined;
    closeSync(this.#fd);
  }
}

/** 0 (or `otherwise`) when it would have blocked after all. */
function attempt(call: () => number, otherwise = 0): number {
  try {
    return call();
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'EAGAIN') return otherwise;
    throw e;
  }
}

const gone = (): Error =>
  errors.SDK_ERR_VHOST_USER_CLOSED({ details: { what: 'the state of the device', why: 'the transfer was ended' } });
