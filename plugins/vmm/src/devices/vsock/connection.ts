// One connection: what it is in the middle of, as data and a table. What is done about it is the muxer's.

import type { Watch } from '@runtime/sdk/linux';
import { ByteRing } from './byte-ring.ts';
import { Credit, type CreditState } from './credit.ts';
import { SHUTDOWN } from './packet.ts';
import { RosterEntry } from './roster.ts';

export type Phase =
  /** The guest asked for it, and the runtime looks for somebody on the host. */
  | 'dialing'
  /** The host asked for it, and the guest has not answered. */
  | 'requesting'
  /** Data goes back and forth; each direction may be shut already. */
  | 'open'
  /** Nothing goes either way any more, and the guest was told: it answers with a reset. */
  | 'closing'
  /** It is over, and a reset waits for a receive buffer of the guest. */
  | 'resetting';

export type Verdict =
  | 'ignore'
  /** The guest has accepted. */
  | 'open'
  | 'data'
  | 'shutdown'
  /** It wants to know our counters. */
  | 'tell'
  /** It has ended it; nothing more is to be said. */
  | 'gone'
  /** It does not follow the protocol: it gets a reset, and so does the host. */
  | 'reset';

/** What a packet means, by phase and op; index 0 is for ops that there are not. */
const VERDICTS: Readonly<Record<Phase, readonly Verdict[]>> = {
  //           unknown,  request,  response, rst,    shutdown,   rw,       credit update, credit request
  dialing: ['reset', 'reset', 'reset', 'gone', 'reset', 'reset', 'ignore', 'ignore'],
  requesting: ['reset', 'reset', 'open', 'gone', 'reset', 'reset', 'ignore', 'ignore'],
  open: ['reset', 'reset', 'reset', 'gone', 'shutdown', 'data', 'ignore', 'tell'],
  closing: ['reset', 'reset', 'reset', 'gone', 'shutdown', 'ignore', 'ignore', 'ignore'],
  resetting: ['ignore', 'ignore', 'ignore', 'gone', 'ignore', 'ignore', 'ignore', 'ignore'],
};

export function verdictOn(phase: Phase, op: number): Verdict {
  const verdicts = VERDICTS[phase];
  return verdicts[op] ?? (verdicts[0] as Verdict);
}

/**
 * Packets without data that wait for a receive buffer: one bit each, as a later packet of a kind says all that an earlier
 * one did. They are sent in this order, and before data.
 */
export const PENDING = {
  reset: 1,
  request: 2,
  response: 4,
  shutdown: 8,
  creditRequest: 16,
  creditUpdate: 32,
} as const;

/** Plain data, for hot reload; `fd` stays open meanwhile. */
export interface ConnectionState {
  readonly hostPort: number;
  readonly guestPort: number;
  readonly phase: Phase;
  readonly guestShut: number;
  readonly hostShut: number;
  readonly pending: number;
  readonly fd: number;
  readonly greets: boolean;
  readonly reserved: number;
  readonly credit: CreditState;
  /** Bytes for the host. */
  readonly held: Uint8Array;
}

export class Connection {
  readonly hostPort: number;
  readonly guestPort: number;
  phase: Phase;
  /** SHUTDOWN bits: what the guest does no more. */
  guestShut = 0;
  /** SHUTDOWN bits: what the host does no more, or what we do no more for it. */
  hostShut = 0;
  /** PENDING bits. */
  pending = 0;
  /** Its socket on the host, −1 while there is none. */
  fd = -1;
  /** Whether the host's client waits for `OK <port>`. */
  greets = false;
  /** Bytes of the buffer budget that are its own; 0 once its socket lingers without it. */
  reserved: number;
  /** The guest has no room: nothing is read from the socket until it says that it has. */
  isStarved = false;
  /** It has data that could not be passed on when it was told so: it is not told again. */
  isParked = false;
  readonly credit: Credit;
  /** From the guest, for a socket that takes no more now. */
  readonly held: ByteRing;
  watch: Watch | undefined;
  /** INTEREST bits in force. */
  interest = 0;
  /** In the roster of those with something in `pending`. */
  readonly controlEntry: RosterEntry<Connection> = new RosterEntry<Connection>(this);
  /** In the roster of those whose socket has data for the guest. */
  readonly dataEntry: RosterEntry<Connection> = new RosterEntry<Connection>(this);

  constructor(hostPort: number, guestPort: number, phase: Phase, bufAlloc: number) {
    this.hostPort = hostPort;
    this.guestPort = guestPort;
    this.phase = phase;
    this.reserved = bufAlloc;
    this.credit = new Credit(bufAlloc);
    this.held = new ByteRing(bufAlloc);
  }

  static from(state: ConnectionState): Connection {
    const connection = new Connection(state.hostPort, state.guestPort, state.phase, state.credit.bufAlloc);
    connection.guestShut = state.guestShut;
    connection.hostShut = state.hostShut;
    connection.pending = state.pending;
    connection.fd = state.fd;
    connection.greets = state.greets;
    connection.reserved = state.reserved;
    connection.credit.restore(state.credit);
    connection.held.restore(state.held);
    return connection;
  }

  toState(): ConnectionState {
    const { hostPort, guestPort, phase, guestShut, hostShut, pending, fd, greets, reserved } = this;
    const said = { hostPort, guestPort, phase, guestShut, hostShut, pending, fd, greets, reserved };
    return { ...said, credit: this.credit.toState(), held: this.held.toBytes() };
  }

  /** Nothing more is read from the host's socket for the guest. */
  get isGuestDone(): boolean {
    return (this.guestShut & SHUTDOWN.receive) !== 0 || (this.hostShut & SHUTDOWN.send) !== 0;
  }

  /** Nothing more is taken from the guest for the host; `held` may have bytes all the same. */
  get isHostDone(): boolean {
    return (this.guestShut & SHUTDOWN.send) !== 0 || (this.hostShut & SHUTDOWN.receive) !== 0;
  }
}
