// What is asked of a connection to a bus, and what it answers.

import type { BusName } from './address.ts';
import type { Value } from './value.ts';

export interface BusLimits {
  /** Of a message that is read, up to 2^27; default 16 MiB. Larger calls are answered with LimitsExceeded. */
  readonly maxMessageBytes?: number;
  /** Descriptors of one call; default 64. */
  readonly maxFds?: number;
  /** Calls of ours that wait for their answer; default 4096. */
  readonly maxPendingCalls?: number;
  /** Calls of one caller that are not answered yet; default 128. */
  readonly maxCallsPerSender?: number;
  /** The same of all callers; default 2048. */
  readonly maxCalls?: number;
  /** Waiting to be sent; default 64 MiB. The connection ends when there is more. */
  readonly maxQueuedBytes?: number;
}

export interface ConnectOptions {
  readonly bus: BusName;
  /** Ends the attempt. */
  readonly signal?: AbortSignal;
  /** Default 10,000. */
  readonly timeoutMs?: number;
  /** Before the D-Bus names of errors that have no full one; default `org.chromium.Runtime.Error`. */
  readonly errorPrefix?: string;
  readonly limits?: BusLimits;
  /** What a listener has thrown, and signals that had other values than they should; default: a process warning. */
  readonly onProblem?: (problem: unknown) => void;
}

export interface CallRequest {
  readonly service: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** Types of `args`; default none. */
  readonly signature?: string;
  /** Descriptors stay the caller's, and may be closed as soon as call() has returned its promise. */
  readonly args?: readonly Value[];
  /** What the answer must have; default: whatever it is. */
  readonly returns?: string;
  /** Until it is answered; default 25,000, as with others. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Whether the bus may start the service; default true. */
  readonly autoStart?: boolean;
}

export interface Reply {
  readonly values: readonly Value[];
  /** All that came with it, the caller's to close; an `h` among the values is one of them. */
  readonly fds: readonly number[];
}

export interface Signal {
  readonly sender: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly values: readonly Value[];
}

export interface NameOptions {
  /** Whether others may take the name away with `replace`; default false. */
  readonly allowReplacement?: boolean;
  /** Whether to take it from an owner that allows it; default false. */
  readonly replace?: boolean;
  /** Whether to wait for it when somebody else has it; default false. */
  readonly queue?: boolean;
  /** Somebody else has it now. */
  readonly onLost?: () => void;
  readonly onAcquired?: () => void;
}

export interface OwnedName extends AsyncDisposable {
  readonly name: string;
  readonly isOwned: boolean;
  release(): Promise<void>;
}

export interface Credentials {
  readonly uid: number;
  readonly pid: number | undefined;
}
