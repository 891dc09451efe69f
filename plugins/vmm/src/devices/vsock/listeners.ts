// Where the host connects to the guest: listening sockets that the runtime has bound and handed over. `listen` leads to
// the port that a client asks for, `port-<n>` to port n of the guest at once.

import { acceptUnix, type Watch, watch } from '@runtime/sdk/linux';
import type { DeviceLog } from '@runtime/sdk/virtio';
import { closeFd } from './close-fd.ts';
import { type HandshakeState, Handshakes } from './handshakes.ts';
import type { Muxer } from './muxer.ts';
import type { SocketIo } from './socket-io.ts';

/** Name of the descriptor that leads to all ports. */
export const LISTEN_FD = 'listen';
/** Begins the name of a descriptor that leads to one port. */
export const PORT_FD = 'port-';

/** Clients that have not said yet where they want to go, at most. */
const MAX_HANDSHAKES = 256;
/** Connections taken from one socket in a row. */
const BATCH = 32;
/** Pause after a socket could not be accepted (EMFILE, …), in ms. */
const RETRY_MS = 1_000;

interface Listener {
  readonly fd: number;
  /** `undefined`: the client says. */
  readonly port: number | undefined;
  readonly watch: Watch;
  isPaused: boolean;
}

export class Listeners {
  readonly #muxer: Muxer;
  readonly #log: DeviceLog;
  readonly #handshakes: Handshakes;
  readonly #all: Listener[] = [];
  #retry: NodeJS.Timeout | undefined;

  constructor(fds: Readonly<Record<string, number>>, muxer: Muxer, io: SocketIo, log: DeviceLog) {
    this.#muxer = muxer;
    this.#log = log;
    this.#handshakes = new Handshakes(
      io,
      (fd, port) => muxer.open(fd, port, true),
      () => this.#resume(),
    );
    muxer.onRoom = () => this.#resume();
    for (const [name, fd] of Object.entries(fds)) {
      if (name === LISTEN_FD) this.#listen(fd, undefined);
      else if (name.startsWith(PORT_FD)) this.#listen(fd, Number(name.slice(PORT_FD.length)));
    }
  }

  restore(states: readonly HandshakeState[]): void {
    for (const state of states) this.#handshakes.add(state);
  }

  toState(): HandshakeState[] {
    return this.#handshakes.toState();
  }

  /** The listening sockets are not ours to close. */
  dispose(areSocketsKept: boolean): void {
    clearTimeout(this.#retry);
    for (const { watch } of this.#all) watch[Symbol.dispose]();
    this.#handshakes.dispose(areSocketsKept);
  }

  #listen(fd: number, port: number | undefined): void {
    const accept = (): void => this.#accept(listener);
    const listener: Listener = { fd, port, isPaused: false, watch: watch(fd, { readable: true }, accept) };
    this.#all.push(listener);
  }

  #hasRoom({ port }: Listener): boolean {
    return this.#muxer.hasRoom && (port !== undefined || this.#handshakes.size < MAX_HANDSHAKES);
  }

  #accept(listener: Listener): void {
    for (let left = BATCH; left > 0; left--) {
      // Those that wait stay in the backlog, where they cost us nothing.
      if (!this.#hasRoom(listener)) {
        this.#pause(listener);
        return;
      }
      let fd: number | undefined;
      try {
        fd = acceptUnix(listener.fd);
      } catch (e) {
        this.#log.warn(`a connection to the guest was not accepted: ${(e as Error).message}`);
        this.#pause(listener);
        this.#retry ??= setTimeout(() => this.#resume(), RETRY_MS).unref();
        return;
      }
      if (fd === undefined) return;
      if (listener.port === undefined) this.#handshakes.add({ fd, said: '' });
      else if (!this.#muxer.open(fd, listener.port, false)) closeFd(fd);
    }
  }

  #pause(listener: Listener): void {
    listener.isPaused = true;
    listener.watch.setInterest({});
  }

  #resume(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    for (const listener of this.#all) {
      if (!listener.isPaused || !this.#hasRoom(listener)) continue;
      listener.isPaused = false;
      listener.watch.setInterest({ readable: true });
    }
  }
}
