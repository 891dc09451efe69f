// Clients of the one socket that leads to all ports of the guest. As with Firecracker, a client says `CONNECT <port>\n`
// and is told `OK <port of the host>\n` when the guest has accepted; anything else closes the connection.

import { type Watch, watch } from '@runtime/sdk/linux';
import { closeFd } from './close-fd.ts';
import { Deadlines } from './deadlines.ts';
import { ANY } from './packet.ts';
import { isRetry, type SocketIo } from './socket-io.ts';

/** How long a client may take to say where it wants to go, in ms. */
const HANDSHAKE_MS = 5_000;
/** Bytes, the end of the line included. */
const LONGEST = 32;
const NEWLINE = 0x0a;

/** Plain data, for hot reload. */
export interface HandshakeState {
  readonly fd: number;
  readonly said: string;
}

interface Client {
  readonly fd: number;
  said: string;
  readonly watch: Watch;
}

export class Handshakes {
  readonly #io: SocketIo;
  readonly #connect: (fd: number, port: number) => boolean;
  readonly #ended: () => void;
  readonly #all = new Set<Client>();
  readonly #deadlines = new Deadlines<Client>(HANDSHAKE_MS, (client) => this.#close(client));

  /**
   * @param connect takes over the socket of a client; false when it does not
   * @param ended one client less
   */
  constructor(io: SocketIo, connect: (fd: number, port: number) => boolean, ended: () => void) {
    this.#io = io;
    this.#connect = connect;
    this.#ended = ended;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Takes over `fd`. */
  add({ fd, said }: HandshakeState): void {
    const client: Client = { fd, said, watch: watch(fd, { readable: true }, () => this.#read(client)) };
    this.#all.add(client);
    this.#deadlines.start(client);
  }

  toState(): HandshakeState[] {
    return Array.from(this.#all, ({ fd, said }) => ({ fd, said }));
  }

  dispose(areSocketsKept: boolean): void {
    this.#deadlines[Symbol.dispose]();
    for (const { fd, watch } of this.#all) {
      watch[Symbol.dispose]();
      if (!areSocketsKept) closeFd(fd);
    }
    this.#all.clear();
  }

  /** Byte by byte: what follows the line is for the guest and stays in the socket. */
  #read(client: Client): void {
    while (client.said.length < LONGEST) {
      const byte = this.#io.receiveByte(client.fd);
      if (byte !== undefined && isRetry(byte)) return;
      if (byte === undefined || byte < 0) break;
      if (byte === NEWLINE) {
        const port = portOf(client.said);
        if (port !== undefined) this.#leave(client);
        if (port === undefined || !this.#connect(client.fd, port)) break;
        return;
      }
      client.said += String.fromCharCode(byte);
    }
    this.#close(client);
  }

  #leave(client: Client): void {
    if (!this.#all.delete(client)) return;
    this.#deadlines.stop(client);
    client.watch[Symbol.dispose]();
    this.#ended();
  }

  #close(client: Client): void {
    this.#leave(client);
    closeFd(client.fd);
  }
}

function portOf(line: string): number | undefined {
  const digits = /^CONNECT (\d{1,10})\r?$/.exec(line)?.[1];
  const port = Number(digits);
  return digits !== undefined && port < ANY ? port : undefined;
}
