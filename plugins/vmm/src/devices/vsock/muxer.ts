// All connections of one guest over its two rings. The guest's packets are acted upon as they come; what goes to the guest
// waits, bounded, for its receive buffers: first packets without data, then the sockets in turns.

import { shutdownSocket } from '@runtime/sdk/linux';
import type { Chain, DeviceContext, Virtqueue } from '@runtime/sdk/virtio';
import { BufferBudget } from './buffer-budget.ts';
import { closeFd } from './close-fd.ts';
import { Connection, type ConnectionState, PENDING, verdictOn } from './connection.ts';
import { ConnectionTable } from './connection-table.ts';
import { Deadlines } from './deadlines.ts';
import { type LingererState, Lingerers } from './lingerers.ts';
import { ANY, HEADER_BYTES, HOST_CID, OP, PacketHeader, SHUTDOWN, TYPE_STREAM } from './packet.ts';
import { Roster } from './roster.ts';
import { isRetry, type SocketIo } from './socket-io.ts';
import { SocketWatcher } from './socket-watcher.ts';
import { StrayResets } from './stray-resets.ts';

/** How long the guest may take to accept a connection, in ms. */
const CONNECT_MS = 10_000;
/** How long a guest may take to confirm the end of a connection, in ms; as Linux does (VSOCK_CLOSE_TIMEOUT). */
const CLOSE_MS = 8_000;
/** Payload of a packet at most, in bytes: VIRTIO_VSOCK_MAX_PKT_BUF_SIZE of Linux. */
const MAX_PAYLOAD = 64 * 1024;

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

const COUNTERS = ['opened', 'refused', 'resets', 'violations', 'malformed', 'toGuestBytes', 'toHostBytes'] as const;
type Counter = (typeof COUNTERS)[number];

const OP_OF: Readonly<Record<number, number>> = {
  [PENDING.reset]: OP.rst,
  [PENDING.request]: OP.request,
  [PENDING.response]: OP.response,
  [PENDING.shutdown]: OP.shutdown,
  [PENDING.creditRequest]: OP.creditRequest,
};

export class Muxer {
  /** Called when a connection has ended: there may be room for another. */
  onRoom: () => void = () => {};
  readonly #context: MuxerContext;
  readonly #io: SocketIo;
  readonly #guestCid: number;
  readonly #limits: MuxerLimits;
  readonly #budget: BufferBudget;
  readonly #incoming = new PacketHeader();
  readonly #outgoing = new PacketHeader();
  /** Those with something in `pending`. */
  readonly #control = new Roster<Connection>();
  /** Those whose socket has data for the guest. */
  readonly #data = new Roster<Connection>();
  readonly #watcher: SocketWatcher;
  readonly #lingerers: Lingerers;
  readonly #connecting = new Deadlines<Connection>(CONNECT_MS, (connection) => this.#reset(connection));
  readonly #closing = new Deadlines<Connection>(CLOSE_MS, (connection) => this.#reset(connection));
  #table = new ConnectionTable();
  #strays = new StrayResets();
  /** Answers of the runtime that have not come yet, also those for connections that have ended meanwhile. */
  #dialing = 0;
  /** Receive buffers are filled in any case when this ends. */
  #isServing = false;
  #isDisposed = false;

  constructor(context: MuxerContext, io: SocketIo, guestCid: number, limits: MuxerLimits) {
    this.#context = context;
    this.#io = io;
    this.#guestCid = guestCid;
    this.#limits = limits;
    this.#budget = new BufferBudget(limits.bufferMemory);
    this.#outgoing.setCids(HOST_CID, guestCid);
    this.#watcher = new SocketWatcher({
      readable: (connection) => this.#readable(connection),
      writable: (connection) => this.#drain(connection),
      gone: (connection) => this.#hostIsDeaf(connection),
    });
    this.#lingerers = new Lingerers(io, (bufAlloc) => {
      this.#budget.release(bufAlloc);
      this.#ended();
    });
    for (const name of COUNTERS) context.stats[name] ??= 0;
    this.#count();
  }

  /** Whether another connection could be opened now. */
  get hasRoom(): boolean {
    const { maxConnections } = this.#limits;
    return this.#table.size + this.#lingerers.size < maxConnections && this.#dialing < maxConnections;
  }

  /** Takes packets of the guest. Returns with some left while the guest does not take our answers. */
  takePackets(queue: Virtqueue): void {
    this.#isServing = true;
    // At most a ring full, so that a guest that goes on and on cannot hold us here.
    for (let left = queue.size; left > 0 && !this.#strays.isFull; left--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      this.#take(chain);
      queue.push(chain.head, 0);
    }
    this.#isServing = false;
  }

  /** Fills receive buffers of the guest, as long as there is something for them. */
  fillBuffers(queue: Virtqueue): void {
    this.#isServing = true;
    for (let left = queue.size; left > 0 && this.#hasPackets; left--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      queue.push(chain.head, this.#fill(chain));
    }
    this.#isServing = false;
  }

  /**
   * Connects a socket of the host to a port of the guest. False when there is no room; otherwise `fd` is the muxer's.
   * @param greets whether the socket is sent `OK <port>` when the guest has accepted
   */
  open(fd: number, guestPort: number, greets: boolean): boolean {
    const bufAlloc = guestPort < ANY && this.hasRoom ? this.#budget.reserve() : 0;
    if (bufAlloc === 0) {
      this.#add('refused', 1);
      return false;
    }
    const connection = new Connection(this.#table.freePort(guestPort), guestPort, 'requesting', bufAlloc);
    connection.fd = fd;
    connection.greets = greets;
    this.#begin(connection);
    this.#connecting.start(connection);
    this.#send(connection, PENDING.request);
    return true;
  }

  /** The guest has forgotten everything: all connections end without a word to it. */
  reset(): void {
    this.#lingerers.clear();
    this.#strays.clear();
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
      strayResets: this.#strays.toWords(),
    };
  }

  /**
   * Goes on where other code left off.
   * @param areSocketsHere false in another process than the one that took the state: the guest is told that its
   * connections are over
   */
  restore(state: MuxerState, areSocketsHere: boolean): void {
    this.#table = new ConnectionTable(state.nextPort);
    this.#strays = StrayResets.from(state.strayResets);
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
    this.#isDisposed = true;
    this.#connecting[Symbol.dispose]();
    this.#closing[Symbol.dispose]();
    this.#lingerers.dispose(areSocketsKept);
    for (const connection of this.#table) {
      this.#watcher.remove(connection);
      if (!areSocketsKept) closeFd(connection.fd);
    }
    this.#watcher[Symbol.dispose]();
  }

  get #hasPackets(): boolean {
    return this.#strays.length > 0 || this.#control.first !== undefined || this.#data.first !== undefined;
  }

  // From the guest

  #take(chain: Chain): void {
    const packet = this.#incoming;
    if (!packet.readFrom(chain) || packet.sourceCid !== this.#guestCid || packet.destinationCid !== HOST_CID) {
      // It says not reliably whom it concerns; Linux drops it as well.
      this.#add('malformed', 1);
      return;
    }
    const isSound = packet.type === TYPE_STREAM && packet.length <= chain.readableBytes - HEADER_BYTES;
    const connection = this.#table.get(packet.destinationPort, packet.sourcePort);
    if (connection === undefined) this.#takeStray(packet, isSound);
    else this.#takeOn(connection, packet, isSound, chain);
  }

  #takeStray(packet: PacketHeader, isSound: boolean): void {
    // Nobody answers a reset, or two sides would do nothing else.
    if (packet.op === OP.rst) return;
    if (!isSound) this.#add('malformed', 1);
    if (!isSound || packet.op !== OP.request || !this.#accept(packet)) {
      this.#strays.add(packet.destinationPort, packet.sourcePort, packet.type);
      this.#add('resets', 1);
    }
  }

  #takeOn(connection: Connection, packet: PacketHeader, isSound: boolean, chain: Chain): void {
    const { phase, credit } = connection;
    const verdict = isSound || phase === 'resetting' ? verdictOn(phase, packet.op) : 'reset';
    if (verdict === 'gone') {
      this.#detach(connection, true);
      this.#forget(connection);
      return;
    }
    if (phase === 'resetting') return;
    if (verdict === 'reset' || !credit.peerSays(packet.bufAlloc, packet.forwarded)) {
      this.#violated(connection);
      return;
    }
    if (connection.isStarved && credit.free > 0) {
      connection.isStarved = false;
      this.#watcher.update(connection);
    }
    switch (verdict) {
      case 'open':
        this.#opened(connection);
        break;
      case 'data':
        this.#takeData(connection, packet.length, chain);
        break;
      case 'shutdown':
        this.#takeShutdown(connection, packet.flags & SHUTDOWN.both);
        break;
      case 'tell':
        this.#send(connection, PENDING.creditUpdate);
        break;
    }
  }

  #takeData(connection: Connection, length: number, chain: Chain): void {
    if (length === 0) return;
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
      if (sent > 0) this.#add('toHostBytes', sent);
    }
    if (done < length) {
      held.appendFrom(chain, HEADER_BYTES + done, length - done);
      this.#watcher.update(connection);
    }
    this.#passedOn(connection, done);
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
      this.#data.remove(connection.dataEntry);
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
      this.#add('refused', 1);
      return false;
    }
    const connection = new Connection(destinationPort, sourcePort, 'dialing', bufAlloc);
    this.#begin(connection);
    if (connection.credit.peerSays(packet.bufAlloc, packet.forwarded)) this.#dial(connection);
    else this.#violated(connection);
    return true;
  }

  #dial(connection: Connection): void {
    this.#dialing += 1;
    Promise.try(() => this.#context.request('connect', { port: connection.hostPort })).then(
      ({ fds }) => this.#dialed(connection, fds),
      () => this.#dialed(connection, []),
    );
  }

  #dialed(connection: Connection, fds: readonly number[]): void {
    this.#dialing -= 1;
    const isWanted = !this.#isDisposed && connection.phase === 'dialing' && connection.fd === -1;
    const [fd, ...rest] = fds;
    for (const one of rest) closeFd(one);
    if (!isWanted && fd !== undefined) closeFd(fd);
    if (!isWanted) return;
    if (fd === undefined) {
      this.#add('refused', 1);
      this.#reset(connection);
      return;
    }
    connection.fd = fd;
    connection.phase = 'open';
    this.#add('opened', 1);
    this.#send(connection, PENDING.response);
    this.#attach(connection);
  }

  #opened(connection: Connection): void {
    connection.phase = 'open';
    this.#connecting.stop(connection);
    this.#add('opened', 1);
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
    if (connection.dataEntry.isListed) {
      connection.isParked = true;
      this.#watcher.update(connection);
    } else {
      this.#data.add(connection.dataEntry);
      this.#wake();
    }
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
      this.#add('toHostBytes', sent);
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
    this.#send(connection, PENDING.shutdown);
    this.#settle(connection);
  }

  /** Nothing more comes from the host. */
  #hostIsDone(connection: Connection): void {
    connection.hostShut |= SHUTDOWN.send;
    this.#send(connection, PENDING.shutdown);
    if (this.#watcher.isGone(connection)) this.#hostIsDeaf(connection);
    else this.#settle(connection);
  }

  // To the guest

  /** Returns how many bytes of the buffer are used. */
  #fill(chain: Chain): number {
    if (chain.writableBytes < HEADER_BYTES) {
      this.#add('malformed', 1);
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
    const packet = this.#outgoing;
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
    this.#write(
      connection,
      chain,
      OP_OF[bit] ?? OP.creditUpdate,
      0,
      bit === PENDING.shutdown ? connection.hostShut : 0,
    );
    if (bit === PENDING.reset) this.#forget(connection);
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
      this.#add('toGuestBytes', received);
      this.#write(connection, chain, OP.rw, received, 0);
      if (received < length) this.#rest(connection);
      else if (credit.free === 0) this.#starve(connection);
      else this.#data.rotate(connection.dataEntry);
      return HEADER_BYTES + received;
    }
    this.#rest(connection);
    if (received === 0) this.#hostIsDone(connection);
    else if (!isRetry(received)) this.#reset(connection);
    return this.#fillPending(connection, chain);
  }

  #write(connection: Connection, chain: Chain, op: number, length: number, flags: number): void {
    const packet = this.#outgoing;
    const { credit } = connection;
    packet.setPorts(connection.hostPort, connection.guestPort);
    packet.setPacket(op, length, flags);
    packet.setCredit(credit.bufAlloc, credit.advertise());
    packet.writeTo(chain);
  }

  /** Its socket has nothing more for now. */
  #rest(connection: Connection): void {
    this.#data.remove(connection.dataEntry);
    connection.isParked = false;
    this.#watcher.update(connection);
  }

  /** The guest has no room for what its socket has. */
  #starve(connection: Connection): void {
    connection.isStarved = true;
    this.#rest(connection);
    this.#send(connection, PENDING.creditRequest);
  }

  #passedOn(connection: Connection, bytes: number): void {
    connection.credit.forwarded(bytes);
    if (connection.credit.isNewsworthy && connection.phase === 'open') this.#send(connection, PENDING.creditUpdate);
  }

  #send(connection: Connection, bit: number): void {
    connection.pending |= bit;
    this.#control.add(connection.controlEntry);
    this.#wake();
  }

  #wake(): void {
    if (!this.#isServing) this.#context.wake();
  }

  // Beginning and end

  #begin(connection: Connection): void {
    this.#table.add(connection);
    this.#count();
  }

  #resume(connection: Connection): void {
    if (connection.pending !== 0) this.#send(connection, connection.pending);
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
    this.#send(connection, PENDING.shutdown);
    this.#closing.start(connection);
  }

  #violated(connection: Connection): void {
    this.#add('violations', 1);
    this.#reset(connection);
  }

  /** Ends it for both sides at once; what was held is lost. */
  #reset(connection: Connection): void {
    this.#detach(connection, false);
    this.#answerReset(connection);
  }

  #answerReset(connection: Connection): void {
    connection.phase = 'resetting';
    connection.pending = 0;
    this.#add('resets', 1);
    this.#send(connection, PENDING.reset);
  }

  /** Lets go of the socket. @param lingers whether it still gets what is held for it */
  #detach(connection: Connection, lingers: boolean): void {
    this.#data.remove(connection.dataEntry);
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
    this.#control.remove(connection.controlEntry);
    this.#table.remove(connection);
    this.#budget.release(connection.reserved);
    this.#ended();
  }

  #ended(): void {
    this.#count();
    this.onRoom();
  }

  #count(): void {
    this.#context.stats.connections = this.#table.size;
    this.#context.stats.lingering = this.#lingerers.size;
  }

  #add(name: Counter, value: number): void {
    this.#context.stats[name] = (this.#context.stats[name] ?? 0) + value;
  }
}

function shutQuietly(fd: number, how: 'read' | 'write'): void {
  try {
    shutdownSocket(fd, how);
  } catch {
    // Its peer has gone, which the next read or write tells.
  }
}
