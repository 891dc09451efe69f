// All connections of one guest: where they begin, what the guest's packets and the host's sockets do to them, how they end.

import { shutdownSocket } from '@runtime/sdk/linux';
import type { Chain, DeviceContext, Virtqueue } from '@runtime/sdk/virtio';
import { BufferBudget } from './buffer-budget.ts';
import { closeFd } from './close-fd.ts';
import { Connection, type ConnectionState, PENDING } from './connection.ts';
import { ConnectionTable } from './connection-table.ts';
import { Counters } from './counters.ts';
import { Deadlines } from './deadlines.ts';
import { Dialer } from './dialer.ts';
import { Inbox } from './inbox.ts';
import { type LingererState, Lingerers } from './lingerers.ts';
import { Outbox } from './outbox.ts';
import { ANY, HEADER_BYTES, type PacketHeader, SHUTDOWN } from './packet.ts';
import { isRetry, type SocketIo } from './socket-io.ts';
import { SocketWatcher } from './socket-watcher.ts';

/** How long the guest may take to accept a connection, in ms. */
const CONNECT_MS = 10_000;
/** How long a guest may take to confirm the end of a connection, in ms; as Linux does (VSOCK_CLOSE_TIMEOUT). */
const CLOSE_MS = 8_000;

export type MuxerContext = Pick<DeviceContext<unknown, unknown>, 'stats' | 'request' | 'wake'>;

/** Of a device in use. */
export interface MuxerLimits {
  /** Connections at most, those that end included. */
  readonly maxConnections: number;
  /** Bytes held for sockets at most. */
  readonly bufferMemory: number;
}

/** Plain data, for hot reload. */
export interface MuxerState {
  readonly nextPort: number;
  readonly connections: readonly ConnectionState[];
  readonly lingerers: readonly LingererState[];
  readonly strayResets: Uint32Array;
}

export class Muxer {
  /** Called when a connection has ended: there may be room for another. */
  onRoom: () => void = () => {};
  readonly #io: SocketIo;
  readonly #limits: MuxerLimits;
  readonly #budget: BufferBudget;
  readonly #counters: Counters;
  readonly #table = new ConnectionTable();
  readonly #inbox: Inbox;
  readonly #outbox: Outbox;
  readonly #dialer: Dialer;
  readonly #watcher: SocketWatcher;
  readonly #lingerers: Lingerers;
  readonly #connecting = new Deadlines<Connection>(CONNECT_MS, (connection) => this.#reset(connection));
  readonly #closing = new Deadlines<Connection>(CLOSE_MS, (connection) => this.#reset(connection));
  /** Receive buffers are filled in any case when this ends. */
  #isServing = false;

  constructor(context: MuxerContext, io: SocketIo, guestCid: number, limits: MuxerLimits) {
    this.#io = io;
    this.#limits = limits;
    this.#budget = new BufferBudget(limits.bufferMemory);
    this.#counters = new Counters(context.stats);
    this.#dialer = new Dialer(context.request);
    const wake = (): void => {
      if (!this.#isServing) context.wake();
    };
    this.#outbox = new Outbox(guestCid, io, this.#counters, wake, {
      rested: (connection) => this.#watcher.update(connection),
      hostIsDone: (connection) => this.#hostIsDone(connection),
      hostFailed: (connection) => this.#reset(connection),
      resetSent: (connection) => this.#forget(connection),
    });
    this.#inbox = new Inbox(guestCid, this.#table, this.#outbox, this.#counters, {
      requested: (packet) => this.#accept(packet),
      accepted: (connection) => this.#opened(connection),
      data: (connection, length, chain) => this.#takeData(connection, length, chain),
      shutdown: (connection, bits) => this.#takeShutdown(connection, bits),
      asked: (connection) => this.#outbox.send(connection, PENDING.creditUpdate),
      fed: (connection) => this.#fed(connection),
      gone: (connection) => this.#gone(connection),
      violated: (connection) => this.#violated(connection),
    });
    this.#watcher = new SocketWatcher({
      readable: (connection) => this.#readable(connection),
      writable: (connection) => this.#drain(connection),
      gone: (connection) => this.#hostIsDeaf(connection),
    });
    this.#lingerers = new Lingerers(io, this.#counters, (bufAlloc) => {
      this.#budget.release(bufAlloc);
      this.#ended();
    });
  }

  /** Whether another connection could be opened now. */
  get hasRoom(): boolean {
    const { maxConnections } = this.#limits;
    return this.#table.size + this.#lingerers.size < maxConnections && this.#dialer.underWay < maxConnections;
  }

  /** Takes packets of the guest. Some are left while the guest does not take our answers. */
  takePackets(queue: Virtqueue): void {
    this.#isServing = true;
    try {
      this.#inbox.take(queue);
    } finally {
      this.#isServing = false;
    }
  }

  /** Fills receive buffers of the guest, as long as there is something for them. */
  fillBuffers(queue: Virtqueue): void {
    this.#isServing = true;
    try {
      this.#outbox.fill(queue);
    } finally {
      this.#isServing = false;
    }
  }

  /**
   * Connects a socket of the host to a port of the guest. False when there is no room; otherwise `fd` is the muxer's.
   * @param greets whether the socket is sent `OK <port>` when the guest has accepted
   */
  open(fd: number, guestPort: number, greets: boolean): boolean {
    const bufAlloc = guestPort < ANY && this.hasRoom ? this.#budget.reserve() : 0;
    if (bufAlloc === 0) {
      this.#counters.add('refused', 1);
      return false;
    }
    const connection = new Connection(this.#table.freePort(guestPort), guestPort, 'requesting', bufAlloc);
    connection.fd = fd;
    connection.greets = greets;
    this.#begin(connection);
    this.#connecting.start(connection);
    this.#outbox.send(connection, PENDING.request);
    return true;
  }

  /** The guest has forgotten everything: all connections end without a word to it. */
  reset(): void {
    this.#lingerers.clear();
    this.#outbox.clearStrays();
    for (const connection of [...this.#table]) {
      this.#detach(connection, false);
      this.#forget(connection);
    }
  }

  toState(): MuxerState {
    return {
      nextPort: this.#table.nextPort,
      connections: [...this.#table].map((connection) => connection.toState()),
      lingerers: this.#lingerers.toState(),
      strayResets: this.#outbox.toWords(),
    };
  }

  /**
   * Goes on where other code left off.
   * @param areSocketsHere false in another process than the one that took the state: the guest is told that its
   * connections are over
   */
  restore(state: MuxerState, areSocketsHere: boolean): void {
    this.#table.nextPort = state.nextPort;
    this.#outbox.restore(state.strayResets);
    for (const lingerer of areSocketsHere ? state.lingerers : []) {
      this.#budget.claim(lingerer.bufAlloc);
      this.#lingerers.add(lingerer);
    }
    for (const one of state.connections) {
      const connection = Connection.from(areSocketsHere ? one : { ...one, fd: -1, held: new Uint8Array(0) });
      this.#budget.claim(connection.reserved);
      this.#table.add(connection);
      if (areSocketsHere) this.#resume(connection);
      else this.#reset(connection);
    }
    this.#count();
  }

  /** @param areSocketsKept when other code goes on with them */
  dispose(areSocketsKept: boolean): void {
    this.#dialer.dispose();
    this.#connecting[Symbol.dispose]();
    this.#closing[Symbol.dispose]();
    this.#lingerers.dispose(areSocketsKept);
    for (const connection of this.#table) {
      this.#watcher.remove(connection);
      if (!areSocketsKept) closeFd(connection.fd);
    }
    this.#watcher[Symbol.dispose]();
  }

  // From the guest

  #takeData(connection: Connection, length: number, chain: Chain): void {
    const { credit, held, fd } = connection;
    if ((connection.guestShut & SHUTDOWN.send) !== 0 || !credit.received(length)) {
      this.#violated(connection);
      return;
    }
    let done = 0;
    if (connection.isHostDone) done = length;
    else if (held.length === 0) {
      const sent = this.#io.send(fd, chain, length);
      if (sent >= 0) done = sent;
      else if (!isRetry(sent)) {
        this.#hostIsDeaf(connection);
        done = length;
      }
      if (sent > 0) this.#counters.add('toHostBytes', sent);
    }
    if (done < length) {
      held.appendFrom(chain, HEADER_BYTES + done, length - done);
      this.#watcher.update(connection);
    }
    this.#passedOn(connection, done);
  }

  #fed(connection: Connection): void {
    connection.isStarved = false;
    this.#watcher.update(connection);
  }

  #gone(connection: Connection): void {
    this.#detach(connection, true);
    this.#forget(connection);
  }

  #takeShutdown(connection: Connection, bits: number): void {
    const news = bits & ~connection.guestShut;
    connection.guestShut |= bits;
    if (connection.guestShut === SHUTDOWN.both) {
      this.#detach(connection, true);
      this.#answerReset(connection);
      return;
    }
    if (connection.phase !== 'open') return;
    if ((news & SHUTDOWN.receive) !== 0) {
      this.#outbox.stopData(connection);
      shutQuietly(connection.fd, 'read');
    }
    if ((news & SHUTDOWN.send) !== 0 && connection.held.length === 0) shutQuietly(connection.fd, 'write');
    this.#settle(connection);
  }

  /** False when the guest's request is refused. */
  #accept(packet: PacketHeader): boolean {
    const { destinationPort, sourcePort } = packet;
    const isPossible = destinationPort < ANY && sourcePort < ANY && this.hasRoom;
    const bufAlloc = isPossible ? this.#budget.reserve() : 0;
    if (bufAlloc === 0) {
      this.#counters.add('refused', 1);
      return false;
    }
    const connection = new Connection(destinationPort, sourcePort, 'dialing', bufAlloc);
    this.#begin(connection);
    if (connection.credit.peerSays(packet.bufAlloc, packet.forwarded)) this.#dial(connection);
    else this.#violated(connection);
    return true;
  }

  #dial(connection: Connection): void {
    this.#dialer.dial(connection.hostPort, (fd) => {
      // It may have ended meanwhile.
      if (connection.phase !== 'dialing') return false;
      if (fd === undefined) {
        this.#counters.add('refused', 1);
        this.#reset(connection);
        return false;
      }
      connection.fd = fd;
      connection.phase = 'open';
      this.#counters.add('opened', 1);
      this.#outbox.send(connection, PENDING.response);
      this.#attach(connection);
      return true;
    });
  }

  #opened(connection: Connection): void {
    connection.phase = 'open';
    this.#connecting.stop(connection);
    this.#counters.add('opened', 1);
    if (connection.greets && !this.#greet(connection)) this.#reset(connection);
    else this.#attach(connection);
  }

  #greet({ fd, hostPort }: Connection): boolean {
    const bytes = Buffer.from(`OK ${hostPort}\n`);
    return this.#io.sendBytes(fd, bytes) === bytes.length;
  }

  /** Begins to watch its socket. A descriptor that cannot be watched was none. */
  #attach(connection: Connection): void {
    try {
      this.#watcher.update(connection);
    } catch {
      this.#reset(connection);
    }
  }

  // From the host

  #readable(connection: Connection): void {
    if (this.#outbox.sendData(connection)) return;
    // It waits its turn, and need not be told again until then.
    connection.isParked = true;
    this.#watcher.update(connection);
  }

  /** The socket takes data again. */
  #drain(connection: Connection): void {
    const { held, fd } = connection;
    while (held.length > 0) {
      const sent = this.#io.sendHeld(fd, held);
      if (isRetry(sent)) break;
      if (sent < 0) {
        this.#hostIsDeaf(connection);
        return;
      }
      held.consume(sent);
      this.#counters.add('toHostBytes', sent);
      this.#passedOn(connection, sent);
    }
    if (held.length > 0) return;
    if ((connection.guestShut & SHUTDOWN.send) !== 0) shutQuietly(fd, 'write');
    this.#watcher.update(connection);
  }

  /** Nothing can be sent to the host any more, while it may still send. */
  #hostIsDeaf(connection: Connection): void {
    const { held } = connection;
    this.#passedOn(connection, held.length);
    held.clear();
    connection.hostShut |= SHUTDOWN.receive;
    this.#outbox.send(connection, PENDING.shutdown);
    this.#settle(connection);
  }

  /** Nothing more comes from the host. */
  #hostIsDone(connection: Connection): void {
    connection.hostShut |= SHUTDOWN.send;
    this.#outbox.send(connection, PENDING.shutdown);
    if (this.#watcher.isGone(connection)) this.#hostIsDeaf(connection);
    else this.#settle(connection);
  }

  // Both ways

  #passedOn(connection: Connection, bytes: number): void {
    connection.credit.forwarded(bytes);
    if (connection.credit.isNewsworthy && connection.phase === 'open')
      this.#outbox.send(connection, PENDING.creditUpdate);
  }

  // Beginning and end

  #begin(connection: Connection): void {
    this.#table.add(connection);
    this.#count();
  }

  #resume(connection: Connection): void {
    if (connection.pending !== 0) this.#outbox.send(connection, connection.pending);
    if (connection.phase === 'dialing') this.#dial(connection);
    else if (connection.phase === 'requesting') this.#connecting.start(connection);
    else if (connection.phase === 'closing') this.#closing.start(connection);
    else if (connection.phase === 'open') this.#attach(connection);
  }

  /** After a direction was shut: with both, the connection closes. */
  #settle(connection: Connection): void {
    if (!connection.isGuestDone || !connection.isHostDone) {
      this.#watcher.update(connection);
      return;
    }
    this.#detach(connection, true);
    connection.phase = 'closing';
    connection.hostShut = SHUTDOWN.both;
    connection.pending &= PENDING.response;
    this.#outbox.send(connection, PENDING.shutdown);
    this.#closing.start(connection);
  }

  #violated(connection: Connection): void {
    this.#counters.add('violations', 1);
    this.#reset(connection);
  }

  /** Ends it for both sides at once; what was held is lost. */
  #reset(connection: Connection): void {
    this.#detach(connection, false);
    this.#answerReset(connection);
  }

  #answerReset(connection: Connection): void {
    connection.phase = 'resetting';
    this.#outbox.sendReset(connection);
  }

  /** Lets go of the socket. @param lingers whether it still gets what is held for it */
  #detach(connection: Connection, lingers: boolean): void {
    this.#outbox.stopData(connection);
    this.#connecting.stop(connection);
    this.#closing.stop(connection);
    this.#watcher.remove(connection);
    const { fd, held, reserved } = connection;
    if (fd === -1) return;
    connection.fd = -1;
    if (lingers && held.length > 0) {
      connection.reserved = 0;
      this.#lingerers.add({ fd, bufAlloc: reserved, held: held.toBytes() });
    } else closeFd(fd);
    held.clear();
  }

  /** The pair of ports is free again. */
  #forget(connection: Connection): void {
    connection.phase = 'resetting';
    this.#outbox.remove(connection);
    this.#table.remove(connection);
    this.#budget.release(connection.reserved);
    this.#ended();
  }

  #ended(): void {
    this.#count();
    this.onRoom();
  }

  #count(): void {
    this.#counters.gauge('connections', this.#table.size);
    this.#counters.gauge('lingering', this.#lingerers.size);
  }
}

function shutQuietly(fd: number, how: 'read' | 'write'): void {
  try {
    shutdownSocket(fd, how);
  } catch {
    // Its peer has gone, which the next read or write tells.
  }
}
