// The guest's packets: whom each concerns and what it means. Whatever a guest can put into one ends here in a verdict.

import type { Chain, Virtqueue } from '@runtime/sdk/virtio';
import { type Connection, verdictOn } from './connection.ts';
import type { ConnectionTable } from './connection-table.ts';
import type { Counters } from './counters.ts';
import type { Outbox } from './outbox.ts';
import { HEADER_BYTES, HOST_CID, OP, PacketHeader, SHUTDOWN, TYPE_STREAM } from './packet.ts';

export interface InboxClient {
  /** The guest asks for a connection. False when it is refused. */
  requested(packet: PacketHeader): boolean;
  accepted(connection: Connection): void;
  /** @param length bytes behind the header, at least 1, which the chain has */
  data(connection: Connection, length: number, chain: Chain): void;
  /** @param bits of SHUTDOWN */
  shutdown(connection: Connection, bits: number): void;
  /** The guest wants to know our counters. */
  asked(connection: Connection): void;
  /** The guest has room again. */
  fed(connection: Connection): void;
  gone(connection: Connection): void;
  violated(connection: Connection): void;
}

export class Inbox {
  readonly #guestCid: number;
  readonly #table: ConnectionTable;
  readonly #outbox: Outbox;
  readonly #counters: Counters;
  readonly #client: InboxClient;
  readonly #packet = new PacketHeader();

  constructor(guestCid: number, table: ConnectionTable, outbox: Outbox, counters: Counters, client: InboxClient) {
    this.#guestCid = guestCid;
    this.#table = table;
    this.#outbox = outbox;
    this.#counters = counters;
    this.#client = client;
  }

  /** Takes packets; a ring full at most, so that a guest that goes on and on cannot hold us here. */
  take(queue: Virtqueue): void {
    for (let left = queue.size; left > 0 && !this.#outbox.isFull; left--) {
      const chain = queue.pop();
      if (chain === undefined) return;
      this.#take(chain);
      queue.push(chain.head, 0);
    }
  }

  #take(chain: Chain): void {
    const packet = this.#packet;
    if (!packet.readFrom(chain) || packet.sourceCid !== this.#guestCid || packet.destinationCid !== HOST_CID) {
      // It does not say whom it concerns; Linux drops it as well.
      this.#counters.add('malformed', 1);
      return;
    }
    const isSound = packet.type === TYPE_STREAM && packet.length <= chain.readableBytes - HEADER_BYTES;
    const connection = this.#table.get(packet.destinationPort, packet.sourcePort);
    if (connection === undefined) this.#takeStray(isSound);
    else this.#takeOn(connection, isSound, chain);
  }

  #takeStray(isSound: boolean): void {
    const packet = this.#packet;
    // Nobody answers a reset, or two sides would do nothing else.
    if (packet.op === OP.rst) return;
    if (!isSound) this.#counters.add('malformed', 1);
    const isRequest = isSound && packet.op === OP.request;
    if (isRequest && this.#client.requested(packet)) return;
    this.#outbox.sendStrayReset(packet.destinationPort, packet.sourcePort, packet.type);
  }

  #takeOn(connection: Connection, isSound: boolean, chain: Chain): void {
    const packet = this.#packet;
    const client = this.#client;
    const { phase, credit } = connection;
    const verdict = isSound || phase === 'resetting' ? verdictOn(phase, packet.op) : 'reset';
    // Its counters mean nothing when it has none any more.
    if (verdict === 'gone') return client.gone(connection);
    if (phase === 'resetting') return;
    if (verdict === 'reset' || !credit.peerSays(packet.bufAlloc, packet.forwarded)) return client.violated(connection);
    if (connection.isStarved && credit.free > 0) client.fed(connection);
    switch (verdict) {
      case 'open':
        return client.accepted(connection);
      case 'data':
        if (packet.length > 0) client.data(connection, packet.length, chain);
        return;
      case 'shutdown':
        return client.shutdown(connection, packet.flags & SHUTDOWN.both);
      case 'tell':
        return client.asked(connection);
      case 'ignore':
        return;
    }
  }
}
