// Waits for the sockets of connections, for no more than each connection can use at the moment.

import { POLL, pollFds, watch } from '@runtime/sdk/linux';
import type { Connection } from './connection.ts';

const READ = 1;
const WRITE = 2;
/** How often sockets that are not read any more are asked whether their peer has gone, in ms. */
const SWEEP_MS = 1_000;
/** What poll(2) is asked at once. */
const BATCH = 1024;

export interface WatcherClient {
  readable(connection: Connection): void;
  writable(connection: Connection): void;
  /** The host's side has closed its socket, which was half closed before. */
  gone(connection: Connection): void;
}

export class SocketWatcher implements Disposable {
  readonly #client: WatcherClient;
  /** One direction is shut. epoll(7) has nothing that tells the end of the other without telling the first for ever. */
  readonly #halfClosed = new Set<Connection>();
  #sweep: NodeJS.Timeout | undefined;

  constructor(client: WatcherClient) {
    this.#client = client;
  }

  /** After anything that changes what the connection waits for. @throws SDK_ERR_WATCH when it is no socket, the first time */
  update(connection: Connection): void {
    const { fd, phase } = connection;
    if (fd === -1 || phase !== 'open') return;
    const isReading = !connection.isGuestDone && !connection.isStarved && !connection.isParked;
    const interest = (isReading ? READ : 0) | (connection.held.length > 0 ? WRITE : 0);
    if (interest !== connection.interest || connection.watch === undefined) {
      connection.interest = interest;
      // Without reading, a peer that sends no more would be news at each turn.
      const wanted = { readable: isReading, writable: (interest & WRITE) !== 0, hangup: isReading };
      if (connection.watch === undefined)
        connection.watch = watch(fd, wanted, (ready) => this.#ready(connection, ready));
      else connection.watch.setInterest(wanted);
    }
    if (connection.isGuestDone && !connection.isHostDone) this.#watchEnd(connection);
    else this.#halfClosed.delete(connection);
  }

  remove(connection: Connection): void {
    connection.watch?.[Symbol.dispose]();
    connection.watch = undefined;
    connection.interest = 0;
    this.#halfClosed.delete(connection);
  }

  /** Whether the host's side has closed its socket, not only one direction. */
  isGone({ fd }: Connection): boolean {
    return isHangup(pollFds([{ fd, events: 0 }], 0)[0]);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#sweep);
    this.#halfClosed.clear();
  }

  #ready(
    connection: Connection,
    { readable, writable }: { readonly readable: boolean; readonly writable: boolean },
  ): void {
    if (writable && (connection.interest & WRITE) !== 0) this.#client.writable(connection);
    if (readable && (connection.interest & READ) !== 0) this.#client.readable(connection);
  }

  #watchEnd(connection: Connection): void {
    this.#halfClosed.add(connection);
    this.#sweep ??= setInterval(() => this.#look(), SWEEP_MS).unref();
  }

  #look(): void {
    const all = [...this.#halfClosed];
    for (let at = 0; at < all.length; at += BATCH) {
      const batch = all.slice(at, at + BATCH);
      const found = pollFds(
        batch.map(({ fd }) => ({ fd, events: 0 })),
        0,
      );
      for (const [i, connection] of batch.entries()) if (isHangup(found[i])) this.#client.gone(connection);
    }
    if (this.#halfClosed.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }
}

function isHangup(events: number | undefined): boolean {
  return events !== undefined && (events & (POLL.hup | POLL.err)) !== 0;
}
