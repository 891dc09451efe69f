// Connections by host port and guest port. Both have 32 bits, too many for one number as a key.

import type { Connection } from './connection.ts';

/** Where ports for connections from the host begin: far from those that people choose. */
const FIRST_EPHEMERAL = 0x4000_0000;
const LAST_EPHEMERAL = 0x7fff_ffff;

export class ConnectionTable {
  size = 0;
  /** The ephemeral port that is tried next. */
  nextPort: number = FIRST_EPHEMERAL;
  readonly #byGuestPort = new Map<number, Map<number, Connection>>();

  get(hostPort: number, guestPort: number): Connection | undefined {
    return this.#byGuestPort.get(guestPort)?.get(hostPort);
  }

  add(connection: Connection): void {
    const { hostPort, guestPort } = connection;
    let ports = this.#byGuestPort.get(guestPort);
    if (ports === undefined) {
      ports = new Map();
      this.#byGuestPort.set(guestPort, ports);
    }
    ports.set(hostPort, connection);
    this.size += 1;
  }

  remove({ hostPort, guestPort }: Connection): void {
    const ports = this.#byGuestPort.get(guestPort);
    if (!ports?.delete(hostPort)) return;
    if (ports.size === 0) this.#byGuestPort.delete(guestPort);
    this.size -= 1;
  }

  /** A host port that no connection to that guest port has; not the one before, which the guest may still remember. */
  freePort(guestPort: number): number {
    const ports = this.#byGuestPort.get(guestPort);
    for (;;) {
      const port = this.nextPort;
      this.nextPort = port === LAST_EPHEMERAL ? FIRST_EPHEMERAL : port + 1;
      if (!ports?.has(port)) return port;
    }
  }

  *[Symbol.iterator](): Generator<Connection> {
    for (const ports of this.#byGuestPort.values()) yield* ports.values();
  }
}
