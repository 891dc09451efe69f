// The console of a VM: one connection to the machine, many readers. The last bytes are kept for those who come late, and
// all goes to a log.

import { createConnection, type Socket } from 'node:net';
import type { ConsoleChunk } from '../../contract.ts';
import { errors } from '../../errors.ts';
import { ByteRing } from './byte-ring.ts';
import { RotatingLog } from './rotating-log.ts';

/** Bytes kept for readers. */
export const CONSOLE_RING = 64 * 1024;
/** Bytes that may wait for a guest that does not read. */
const MAX_UNWRITTEN = 64 * 1024;
/** Longest wait of one read, ms. */
const MAX_WAIT = 60_000;

export interface ConsoleOptions {
  /** For messages. */
  readonly vm: string;
  readonly logFile: string;
}

export class ConsoleRelay implements Disposable {
  readonly #options: ConsoleOptions;
  readonly #socket: Socket;
  readonly #ring: ByteRing = new ByteRing(CONSOLE_RING);
  readonly #log: RotatingLog;
  readonly #wakers: Set<() => void> = new Set();
  #ended = false;

  /** @param path of the listening socket of the machine. @throws what connect(2) does */
  static connect(path: string, options: ConsoleOptions): Promise<ConsoleRelay> {
    return new Promise((resolve, reject) => {
      const socket = createConnection({ path });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new ConsoleRelay(socket, options));
      });
    });
  }

  constructor(socket: Socket, options: ConsoleOptions) {
    this.#options = options;
    this.#socket = socket;
    this.#log = new RotatingLog(options.logFile);
    socket.on('data', (bytes: Uint8Array) => {
      this.#ring.push(bytes);
      this.#log.write(bytes);
      this.wakeReaders();
    });
    // The end of the machine, however it comes; what there was can still be read.
    socket.on('error', () => {});
    socket.on('close', () => this.#end());
  }

  get ended(): boolean {
    return this.#ended;
  }

  async read(request: { readonly from?: number; readonly waitMs?: number } = {}): Promise<ConsoleChunk> {
    const { from = this.#ring.start, waitMs = 0 } = request;
    if (from >= this.#ring.end && !this.#ended && waitMs > 0) await this.#change(Math.min(waitMs, MAX_WAIT));
    const slice = this.#ring.read(from);
    return { ...slice, ended: this.#ended };
  }

  /** @throws VMM_ERR_CONSOLE */
  write(bytes: Uint8Array): void {
    if (this.#ended) throw this.#refuse('its machine has ended');
    if (this.#socket.writableLength + bytes.length > MAX_UNWRITTEN) {
      throw this.#refuse(`${this.#socket.writableLength} bytes wait to be read by the guest`);
    }
    this.#socket.write(bytes);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
    this.#end();
  }

  #change(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wakers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wakers.add(done);
    });
  }

  /** Has all that wait return with what there is. */
  wakeReaders(): void {
    for (const waker of [...this.#wakers]) waker();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#log[Symbol.dispose]();
    this.wakeReaders();
  }

  #refuse(why: string): Error {
    return errors.VMM_ERR_CONSOLE({ details: { vm: this.#options.vm, why } });
  }
}
