// The messages of a front end, one at a time: sends requests, waits for answers, answers what the back end asks.

import { errors } from '../../errors.ts';
import { socketPair } from '../../linux/unix-socket.ts';
import { Connection } from '../../virtio/vhost-user/connection.ts';
import { closeFds, type Frame } from '../../virtio/vhost-user/frames.ts';
import {
  type BackendRequestName,
  backendRequestById,
  Flag,
  type PayloadKind,
  Request,
  type RequestName,
} from '../../virtio/vhost-user/messages.ts';
import { decodePayload, encodeMessage, encodePayload, type Payloads } from '../../virtio/vhost-user/payloads.ts';

type PayloadOf<N extends RequestName> = Payloads[(typeof Request)[N]['payload']];
type ReplyOf<N extends RequestName> = (typeof Request)[N]['reply'] extends infer R
  ? R extends PayloadKind
    ? Payloads[R]
    : undefined
  : never;

export interface FrontEndAnswer<T> {
  readonly value: T;
  /** Close-on-exec, and the receiver's to close. */
  readonly fds: readonly number[];
}

export interface RequestOptions {
  /** They stay the caller's. */
  readonly fds?: readonly number[];
  /** Whether to ask for an acknowledgement, and wait for it; default as `acknowledged` of the link. */
  readonly acknowledge?: boolean;
}

/** What the back end asked for on its channel. */
export interface BackendAsked {
  readonly name: string;
  readonly payload: unknown;
  readonly fds: readonly number[];
}

interface Waiting {
  readonly name: string;
  readonly id: number;
  resolve(answer: { payload: Uint8Array; fds: number[] }): void;
  reject(why: unknown): void;
}

export class FrontEndLink {
  /** Ask for acknowledgements unless a request says otherwise: when REPLY_ACK was negotiated. */
  acknowledged = false;
  /** Called for each request of the back end; its answer, 0 for yes. Descriptors are its to close. */
  onAsked: (asked: BackendAsked) => bigint = ({ fds }) => {
    closeFds(fds);
    return 0n;
  };
  /** Ends when the connection does, whoever ended it. */
  readonly closed: Promise<void>;
  readonly #connection: Connection;
  readonly #waiting: Waiting[] = [];
  readonly #timeoutMs: number;
  #channel: Connection | undefined;
  #resolveClosed: () => void = () => {};

  /** The connected socket is owned from here on. `timeoutMs`: for an answer, default 5,000. */
  constructor(fd: number, options: { readonly timeoutMs?: number } = {}) {
    this.#timeoutMs = options.timeoutMs ?? 5_000;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#connection = new Connection(fd, 'replies', {
      frame: (frame) => this.#answered(frame),
      ended: (cause) => this.#end(cause instanceof Error ? cause.message : 'the back end has ended it'),
    });
    this.#connection.start();
  }

  get open(): boolean {
    return this.#connection.open;
  }

  /**
   * One request. It ends with its answer, with the acknowledgement, or as soon as it was sent.
   * @throws SDK_ERR_VHOST_USER_REFUSED when the back end says no; SDK_ERR_VHOST_USER_CLOSED
   */
  async request<N extends RequestName>(
    name: N,
    payload: PayloadOf<N>,
    options: RequestOptions = {},
  ): Promise<FrontEndAnswer<ReplyOf<N>>> {
    const spec = Request[name];
    const acknowledge = options.acknowledge ?? this.acknowledged;
    const flags = acknowledge ? Flag.version | Flag.needReply : Flag.version;
    const body = encodePayload(spec.payload as PayloadKind, payload as Payloads[PayloadKind]);
    const answers = spec.reply !== undefined || acknowledge;
    const sent = this.send(encodeMessage(spec.id, flags, body), options.fds);
    if (!answers) {
      await sent;
      return { value: undefined as ReplyOf<N>, fds: [] };
    }
    const [answer] = await Promise.all([this.answer(name, spec.id), sent]);
    if (spec.reply !== undefined) {
      if (spec.refusal === 'empty' && answer.payload.length === 0) throw this.#refused(name, 'the answer was empty');
      return { value: decodePayload(spec.reply, answer.payload) as ReplyOf<N>, fds: answer.fds };
    }
    closeFds(answer.fds);
    const status = decodePayload('u64', answer.payload);
    if (status !== 0n) throw this.#refused(name, `the back end answered ${status}`);
    return { value: undefined as ReplyOf<N>, fds: [] };
  }

  /** Any bytes, whether or not they are a message. */
  send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    return this.#connection.send(bytes, fds);
  }

  /** The next answer, which must be one to request `id`. */
  answer(name: string, id: number): Promise<{ payload: Uint8Array; fds: number[] }> {
    return new Promise((resolve, reject) => {
      if (!this.open) return reject(this.#closedError(name, 'it has ended'));
      const timer = setTimeout(() => {
        this.#end(`${name} was not answered within ${this.#timeoutMs} ms`);
      }, this.#timeoutMs);
      this.#waiting.push({
        name,
        id,
        resolve: (answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
        reject: (why) => {
          clearTimeout(timer);
          reject(why);
        },
      });
    });
  }

  /** Opens the channel on which the back end asks; what it asks goes to `onAsked`. */
  async openChannel(): Promise<void> {
    const [ours, theirs] = socketPair('stream');
    this.#channel?.close();
    const channel = new Connection(ours, 'requests', {
      frame: (frame) => this.#asked(channel, frame),
      ended: () => {},
    });
    this.#channel = channel;
    channel.start();
    try {
      await this.request('SET_BACKEND_REQ_FD', undefined, { fds: [theirs] });
    } finally {
      closeFds([theirs]);
    }
  }

  close(): void {
    this.#end('it was closed');
  }

  #answered({ id, payload, fds }: Frame): void {
    const waiting = this.#waiting.shift();
    const taken: number[] = [];
    for (let fd = fds.take(); fd !== undefined; fd = fds.take()) taken.push(fd);
    if (waiting === undefined || waiting.id !== id) {
      closeFds(taken);
      if (waiting !== undefined) this.#waiting.unshift(waiting);
      throw errors.SDK_ERR_VHOST_USER_PROTOCOL({ details: { why: `an answer to ${id} came that nobody waits for` } });
    }
    waiting.resolve({ payload: payload.slice(), fds: taken });
  }

  async #asked(channel: Connection, frame: Frame): Promise<void> {
    const spec = backendRequestById(frame.id);
    if (spec === undefined) {
      frame.fds.closeRest();
      throw errors.SDK_ERR_VHOST_USER_PROTOCOL({ details: { why: `the back end asks for ${frame.id}` } });
    }
    const fds: number[] = [];
    for (let fd = frame.fds.take(); fd !== undefined; fd = frame.fds.take()) fds.push(fd);
    const name = spec.name.replace(/^BACKEND_/, '') as BackendRequestName;
    const status = this.onAsked({ name, payload: decodePayload(spec.payload, frame.payload), fds });
    if ((frame.flags & Flag.needReply) === 0) return;
    await channel.send(encodeMessage(frame.id, Flag.version | Flag.reply, encodePayload('u64', status)));
  }

  #end(why: string): void {
    this.#connection.close();
    this.#channel?.close();
    for (const { name, reject } of this.#waiting.splice(0)) reject(this.#closedError(name, why));
    this.#resolveClosed();
  }

  #closedError(what: string, why: string): Error {
    return errors.SDK_ERR_VHOST_USER_CLOSED({ details: { what, why } });
  }

  #refused(request: string, why: string): Error {
    return errors.SDK_ERR_VHOST_USER_REFUSED({ details: { request, why } });
  }
}
