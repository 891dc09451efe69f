// Sockets whose connection the guest has ended, while they had not taken all that it sent. They get the rest, and then
// the end.

import { type Watch, watch } from '@runtime/sdk/linux';
import { ByteRing } from './byte-ring.ts';
import { closeFd } from './close-fd.ts';
import type { Counters } from './counters.ts';
import { Deadlines } from './deadlines.ts';
import { isRetry, type SocketIo } from './socket-io.ts';

/** How long a socket may take nothing, in ms. */
const LINGER_MS = 60_000;

/** Plain data, for hot reload. */
export interface LingererState {
  readonly fd: number;
  /** Bytes of the buffer budget that it holds. */
  readonly bufAlloc: number;
  readonly held: Uint8Array;
}

interface Lingerer {
  readonly fd: number;
  readonly bufAlloc: number;
  readonly held: ByteRing;
  readonly watch: Watch;
}

export class Lingerers {
  readonly #io: SocketIo;
  readonly #counters: Counters;
  readonly #ended: (bufAlloc: number) => void;
  readonly #all = new Set<Lingerer>();
  readonly #deadlines = new Deadlines<Lingerer>(LINGER_MS, (lingerer) => this.#end(lingerer));

  /** @param ended called with the budget of each that ends */
  constructor(io: SocketIo, counters: Counters, ended: (bufAlloc: number) => void) {
    this.#io = io;
    this.#counters = counters;
    this.#ended = ended;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Takes over `fd`. */
  add({ fd, bufAlloc, held: bytes }: LingererState): void {
    const held = new ByteRing(bytes.length);
    held.restore(bytes);
    const wanted = { readable: false, writable: true, hangup: false };
    const lingerer: Lingerer = { fd, bufAlloc, held, watch: watch(fd, wanted, () => this.#drain(lingerer)) };
    this.#all.add(lingerer);
    this.#deadlines.start(lingerer);
  }

  /** All end at once. */
  clear(): void {
    for (const lingerer of this.#all) this.#end(lingerer);
  }

  toState(): LingererState[] {
    return Array.from(this.#all, ({ fd, bufAlloc, held }) => ({ fd, bufAlloc, held: held.toBytes() }));
  }

  dispose(areSocketsKept: boolean): void {
    this.#deadlines[Symbol.dispose]();
    for (const { fd, watch } of this.#all) {
      watch[Symbol.dispose]();
      if (!areSocketsKept) closeFd(fd);
    }
    this.#all.clear();
  }

  #drain(lingerer: Lingerer): void {
    const { fd, held } = lingerer;
    while (held.length > 0) {
      const sent = this.#io.sendHeld(fd, held);
      if (isRetry(sent)) return;
      if (sent < 0) break;
      held.consume(sent);
      this.#counters.add('toHostBytes', sent);
      this.#deadlines.start(lingerer);
    }
    this.#end(lingerer);
  }

  #end(lingerer: Lingerer): void {
    this.#all.delete(lingerer);
    this.#deadlines.stop(lingerer);
    lingerer.watch[Symbol.dispose]();
    closeFd(lingerer.fd);
    this.#ended(lingerer.bufAlloc);
  }
}
