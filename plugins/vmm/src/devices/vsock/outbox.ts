// What waits for receive buffers of the guest, bounded by the number of connections: resets for packets of none, packets
// without data, and then the data of sockets, which stays in them until there is a buffer, in turns.

import type { Chain, Virtqueue } from '@runtime/sdk/virtio';
import { type Connection, PENDING } from './connection.ts';
import type { Counters } from './counters.ts';
import { HEADER_BYTES, HOST_CID, OP, PacketHeader } from './packet.ts';
import { Roster } from './roster.ts';
import { isRetry, type SocketIo } from './socket-io.ts';
import { StrayResets } from './stray-resets.ts';

/** Payload of a packet at most, in bytes: VIRTIO_VSOCK_MAX_PKT_BUF_SIZE of Linux. */
const MAX_PAYLOAD = 64 * 1024;

const OP_OF: Readonly<Record<number, number>> = {
  [PENDING.reset]: OP.rst,
  [PENDING.request]: OP.request,
  [PENDING.response]: OP.response,
  [PENDING.shutdown]: OP.shutdown,
  [PENDING.creditRequest]: OP.creditRequest,
};

export interface OutboxClient {
  /** Its socket has no more data now, or the guest no room: it is not in the outbox any more. */
  rested(connection: Connection): void;
  /** Its socket has ended. */
  hostIsDone(connection: Connection): void;
  /** Its socket has failed. */
  hostFailed(connection: Connection): void;
  /** The guest has been told that it is over. */
  resetSent(connection: Connection): void;
}

export class Outbox {
  readonly #client: OutboxClient;
  readonly #io: SocketIo;
  readonly #counters: Counters;
  readonly #wake: () => void;
  readonly #packet = new PacketHeader();
  /** Those with something in `pending`. */
  readonly #control = new Roster<Connection>();
  /** Those whose socket has data. */
  readonly #data = new Roster<Connection>();
  #strays = new StrayResets();

  /** @param wake there is something for receive buffers */
  constructor(guestCid: number, io: SocketIo, counters: Counters, wake: () => void, client: OutboxClient) {
    this.#io = io;
    this.#counters = counters;
    this.#wake = wake;
    this.#client = client;
    this.#packet.setCids(HOST_CID, guestCid);
  }

  /** Nothing may be taken from the guest that could need an answer. */
  get isFull(): boolean {
    return this.#strays.isFull;
  }

  /** Fills buffers as long as there is something for them; a ring full at most. */
  fill(queue: Virtqueue): void {
    for (let left = queue.size; left > 0 && this.#hasPackets; left--) {
      const chain = queue.pop();
      if (chain === undefined) return;
      queue.push(chain.head, this.#fill(chain));
    }
  }

  /** A packet without data. @param bits of PENDING */
  send(connection: Connection, bits: number): void {
    connection.pending |= bits;
    this.#control.add(connection.controlEntry);
    this.#wake();
  }

  /** The last packet of a connection, in place of all that waits. */
  sendReset(connection: Connection): void {
    this.#counters.add('resets', 1);
    connection.pending = 0;
    this.send(connection, PENDING.reset);
  }

  /** A reset without a connection. */
  sendStrayReset(hostPort: number, guestPort: number, type: number): void {
    this.#counters.add('resets', 1);
    this.#strays.add(hostPort, guestPort, type);
  }

  /** Its socket has data. False when that was known. */
  sendData(connection: Connection): boolean {
    if (connection.dataEntry.isListed) return false;
    this.#data.add(connection.dataEntry);
    this.#wake();
    return true;
  }

  stopData(connection: Connection): void {
    this.#data.remove(connection.dataEntry);
  }

  remove(connection: Connection): void {
    this.#data.remove(connection.dataEntry);
    this.#control.remove(connection.controlEntry);
  }

  clearStrays(): void {
    this.#strays.clear();
  }

  /** For a reload: the resets without a connection; connections know what they wait to send. */
  toWords(): Uint32Array {
    return this.#strays.toWords();
  }

  restore(strays: Uint32Array): void {
    this.#strays = StrayResets.from(strays);
  }

  get #hasPackets(): boolean {
    return this.#strays.length > 0 || this.#control.first !== undefined || this.#data.first !== undefined;
  }

  /** Returns how many bytes of the buffer are used. */
  #fill(chain: Chain): number {
    if (chain.writableBytes < HEADER_BYTES) {
      this.#counters.add('malformed', 1);
      return 0;
    }
    if (this.#strays.length > 0) return this.#fillStray(chain);
    const waiting = this.#control.first;
    if (waiting !== undefined) return this.#fillPending(waiting, chain);
    const talking = this.#data.first;
    return talking === undefined ? 0 : this.#fillData(talking, chain);
  }

  #fillStray(chain: Chain): number {
    const strays = this.#strays;
    const packet = this.#packet;
    packet.setPorts(strays.hostPort, strays.guestPort);
    packet.setPacket(OP.rst, 0, 0, strays.type);
    packet.setCredit(0, 0);
    packet.writeTo(chain);
    strays.shift();
    return HEADER_BYTES;
  }

  /** The most urgent packet of a connection; without one, its counters, which are never wrong to tell. */
  #fillPending(connection: Connection, chain: Chain): number {
    const bit = connection.pending & -connection.pending;
    // Every packet tells the counters.
    connection.pending &= ~(bit | PENDING.creditUpdate);
    if (connection.pending === 0) this.#control.remove(connection.controlEntry);
    else this.#control.rotate(connection.controlEntry);
    const flags = bit === PENDING.shutdown ? connection.hostShut : 0;
    this.#write(connection, chain, OP_OF[bit] ?? OP.creditUpdate, 0, flags);
    if (bit === PENDING.reset) this.#client.resetSent(connection);
    return HEADER_BYTES;
  }

  #fillData(connection: Connection, chain: Chain): number {
    const { credit } = connection;
    const length = Math.min(chain.writableBytes - HEADER_BYTES, credit.free, MAX_PAYLOAD);
    if (length === 0) {
      if (credit.free === 0) this.#starve(connection);
      return this.#fillPending(connection, chain);
    }
    const received = this.#io.receive(connection.fd, chain, length);
    if (received > 0) {
      credit.sent(received);
      this.#counters.add('toGuestBytes', received);
      this.#write(connection, chain, OP.rw, received, 0);
      if (received < length) this.#rest(connection);
      else if (credit.free === 0) this.#starve(connection);
      else this.#data.rotate(connection.dataEntry);
      return HEADER_BYTES + received;
    }
    this.#rest(connection);
    if (received === 0) this.#client.hostIsDone(connection);
    else if (!isRetry(received)) this.#client.hostFailed(connection);
    return this.#fillPending(connection, chain);
  }

  #write(connection: Connection, chain: Chain, op: number, length: number, flags: number): void {
    const packet = this.#packet;
    const { credit } = connection;
    packet.setPorts(connection.hostPort, connection.guestPort);
    packet.setPacket(op, length, flags);
    packet.setCredit(credit.bufAlloc, credit.advertise());
    packet.writeTo(chain);
  }

  #rest(connection: Connection): void {
    this.#data.remove(connection.dataEntry);
    connection.isParked = false;
    this.#client.rested(connection);
  }

  /** The guest has no room for what its socket has. */
  #starve(connection: Connection): void {
    connection.isStarved = true;
    this.#rest(connection);
    this.send(connection, PENDING.creditRequest);
  }
}
