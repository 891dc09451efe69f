// Requests of the back end to the front end, on the socket of SET_BACKEND_REQ_FD.

import { errors } from '../../errors.ts';
import { Connection } from './connection.ts';
import type { Frame } from './frames.ts';
import { Flag, type PayloadKind, type RequestSpec } from './messages.ts';
import { decodePayload, encodeMessage, encodePayload, type Payloads } from './payloads.ts';

/** Requests without an answer yet; a front end that leaves more of them unanswered gets no further ones. */
const MAX_PENDING = 64;

interface Pending {
  readonly spec: RequestSpec;
  resolve(): void;
  reject(why: unknown): void;
}

export class RequestChannel {
  readonly #connection: Connection;
  readonly #ended: (cause: unknown) => void;
  /** Answers come in the order of the requests. */
  readonly #pending: Pending[] = [];

  /** The descriptor is owned from here on. @throws LinuxError, SDK_ERR_WATCH */
  constructor(fd: number, ended: (cause: unknown) => void) {
    this.#ended = ended;
    this.#connection = new Connection(fd, 'replies', {
      frame: (frame) => this.#answered(frame),
      ended: (cause) => this.#end(cause),
    });
    try {
      this.#connection.start();
    } catch (e) {
      this.#connection.close();
      throw e;
    }
  }

  /**
   * Sends a request; with `acknowledged` it ends when the front end has said yes. Descriptors stay the caller's.
   * @throws SDK_ERR_VHOST_USER_REFUSED when it said no; SDK_ERR_VHOST_USER_CLOSED
   */
  async request<P extends PayloadKind>(
    spec: RequestSpec<P>,
    payload: Payloads[P],
    options: { readonly acknowledged: boolean; readonly fds?: readonly number[] },
  ): Promise<void> {
    if (!this.#connection.open) throw closed(spec, 'the front end has closed it');
    const { acknowledged, fds = [] } = options;
    if (this.#pending.length >= MAX_PENDING) throw closed(spec, 'too many requests wait for an answer');
    const flags = acknowledged ? Flag.version | Flag.needReply : Flag.version;
    const message = encodeMessage(spec.id, flags, encodePayload(spec.payload, payload));
    if (!acknowledged) return this.#connection.send(message, fds);
    const answer = new Promise<void>((resolve, reject) => {
      this.#pending.push({ spec, resolve, reject });
    });
    // It fails together with the answer, which tells why.
    this.#connection.send(message, fds).catch((e: unknown) => this.#end(e));
    return answer;
  }

  close(): void {
    this.#connection.close();
    this.#rejectAll('it was closed');
  }

  #answered({ id, payload, fds }: Frame): void {
    fds.closeRest();
    const pending = this.#pending.shift();
    if (pending?.spec.id !== id) {
      const why = `an answer to request ${id} came, which was not the one that waits`;
      if (pending !== undefined) this.#pending.unshift(pending);
      throw errors.SDK_ERR_VHOST_USER_PROTOCOL({ details: { why } });
    }
    const { spec } = pending;
    let status: bigint;
    try {
      status = decodePayload('u64', payload);
    } catch (e) {
      pending.reject(e);
      throw e;
    }
    if (status === 0n) return pending.resolve();
    const why = `the front end answered ${status}`;
    pending.reject(errors.SDK_ERR_VHOST_USER_REFUSED({ details: { request: spec.name, why } }));
  }

  #end(cause: unknown): void {
    this.close();
    this.#ended(cause);
  }

  #rejectAll(why: string): void {
    for (const { spec, reject } of this.#pending.splice(0)) reject(closed(spec, why));
  }
}

const closed = (spec: RequestSpec, why: string): Error =>
  errors.SDK_ERR_VHOST_USER_CLOSED({ details: { what: spec.name, why } });
