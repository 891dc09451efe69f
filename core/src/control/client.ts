// A typed client of the control socket. Every wait has a limit; a lost connection ends what was under way with a code and
// is not made again by itself.

import { connect as connectSocket, type Socket } from 'node:net';
import { type Clock, systemClock } from '../clock.ts';
import type { TerminalSize } from '../commands.ts';
import { errors } from '../core-errors.ts';
import { fromErrorRecord } from '../errors.ts';
import { encodeFrame, FrameDecoder, MAX_FRAME } from '../wire/frames.ts';
import { decodeValue, encodeValue } from '../wire/value.ts';
import { cancelled, Exchange, type Outbound } from './exchange.ts';
import type {
  CommandItem,
  Item,
  MethodName,
  Params,
  PlainMethod,
  Result,
  RunCommandParams,
  StreamMethod,
} from './method-types.ts';
import { type HelloMessage, PROTOCOL_VERSION, parseServerMessage, type ServerMessage } from './protocol.ts';
import { ITEMS, RESULTS } from './schemas.ts';
import { checkSocketFolder, controlSocketPath, type Environment } from './socket-path.ts';

/** Milliseconds. */
export interface ClientTimeouts {
  /** Until the runtime has said hello. */
  readonly connectMs: number;
  /** Default for an answer; methods that load or stop plugins have more. */
  readonly requestMs: number;
  /** Without any sign of life while something is under way, after which the connection is given up. */
  readonly silenceMs: number;
  /** From cancelling a command until it is given up. */
  readonly cancelMs: number;
}
export const CLIENT_TIMEOUTS: ClientTimeouts = {
  connectMs: 5_000,
  requestMs: 10_000,
  silenceMs: 30_000,
  cancelMs: 15_000,
};

/** Methods that run code of plugins with deadlines of its own. */
const SLOW_METHODS: ReadonlySet<MethodName> = new Set(['doctor', 'plugin.reload', 'plugin.enable', 'plugin.disable']);
const SLOW_FACTOR = 12;

export interface ConnectOptions {
  /** Default: that of `env` and `name`. */
  readonly path?: string;
  /** Default: process.env. */
  readonly env?: Environment;
  readonly name?: string;
  readonly timeouts?: Partial<ClientTimeouts>;
  readonly clock?: Clock;
}

export interface RequestOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds. */
  readonly deadlineMs?: number;
}

export interface ControlStream<T, R> extends AsyncIterable<T> {
  /** Settles when the stream ends by itself. */
  readonly result: Promise<R>;
  /** Ends it; leaving the loop does the same. */
  cancel(): void;
}

export interface CommandOutput {
  /** Called one at a time and in order; the command waits while this does. */
  item(item: CommandItem): void | Promise<void>;
  /** Standard input for the command; none by default. */
  readonly input?: AsyncIterable<Uint8Array>;
  /** Sizes of the terminal as they change; ended by the caller. */
  readonly resizes?: AsyncIterable<TerminalSize>;
  /** Asks the command to end. Its last output still arrives. */
  readonly signal?: AbortSignal;
}

export interface ControlClient extends AsyncDisposable {
  /** What the runtime said of itself. */
  readonly server: Pick<HelloMessage, 'version' | 'instance' | 'pid'>;
  /** Resolves when the connection has ended, whoever ended it. */
  readonly closed: Promise<void>;
  /** @throws (rejects with) the runtime's error, CORE_ERR_CANCELLED, CORE_ERR_CONTROL_DEADLINE, CORE_ERR_CONTROL_CLOSED */
  request<M extends PlainMethod>(method: M, params: Params<M>, options?: RequestOptions): Promise<Result<M>>;
  /** To be read by one loop. */
  stream<M extends StreamMethod>(
    method: M,
    params: Params<M>,
    options?: { readonly signal?: AbortSignal },
  ): ControlStream<Item<M>, Result<M>>;
  /** The exit code of the command. */
  runCommand(params: RunCommandParams, output: CommandOutput): Promise<number>;
}

/** @throws CORE_ERR_CONTROL_UNREACHABLE, CORE_ERR_CONTROL_PATH, CORE_ERR_CONTROL_VERSION, CORE_ERR_CONTROL_DEADLINE */
export async function connect(options: ConnectOptions = {}): Promise<ControlClient> {
  const path = options.path ?? controlSocketPath(options.env ?? process.env, options.name);
  if (!checkSocketFolder(path)) throw errors.CORE_ERR_CONTROL_UNREACHABLE({ details: { path } });
  const client = new SocketClient(path, options);
  await client.greeted;
  return client;
}

class SocketClient implements ControlClient {
  readonly greeted: Promise<void>;
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #timeouts: ClientTimeouts;
  readonly #decoder: FrameDecoder = new FrameDecoder();
  readonly #exchanges: Map<number, Exchange> = new Map();
  readonly #greeting: PromiseWithResolvers<void> = Promise.withResolvers();
  #hello: HelloMessage | undefined;
  #lastId = 0;
  #heardAt: number;
  #watch: Disposable | undefined;
  /** Why the connection ended. */
  #failure: unknown;

  constructor(path: string, options: ConnectOptions) {
    this.#clock = options.clock ?? systemClock;
    this.#timeouts = { ...CLIENT_TIMEOUTS, ...options.timeouts };
    this.#heardAt = this.#clock.now();
    this.#socket = connectSocket(path);
    this.greeted = this.#greeting.promise;
    const { connectMs: ms } = this.#timeouts;
    const timer = this.#clock.after(ms, () =>
      this.#break(errors.CORE_ERR_CONTROL_DEADLINE({ details: { method: 'connecting', ms } })),
    );
    const settled = (): void => timer[Symbol.dispose]();
    this.greeted.then(settled, settled);
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', (cause) => {
      // Before the greeting nobody is there; afterwards somebody went away.
      this.#failure ??=
        this.#hello === undefined ? errors.CORE_ERR_CONTROL_UNREACHABLE({ details: { path }, cause }) : cause;
    });
    this.closed = new Promise((resolve) => {
      this.#socket.once('close', () => {
        this.#end(path);
        resolve();
      });
    });
  }

  get server(): Pick<HelloMessage, 'version' | 'instance' | 'pid'> {
    const { version, instance, pid } = this.#hello as HelloMessage;
    return { version, instance, pid };
  }

  async request<M extends PlainMethod>(method: M, params: Params<M>, options: RequestOptions = {}): Promise<Result<M>> {
    options.signal?.throwIfAborted();
    const exchange = this.#open(method, params);
    const ms = options.deadlineMs ?? this.#timeouts.requestMs * (SLOW_METHODS.has(method) ? SLOW_FACTOR : 1);
    const giveUp = (error: unknown): void => {
      exchange.cancel();
      exchange.fail(error);
    };
    const onAbort = (): void => giveUp(cancelled(method, options.signal?.reason));
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const timer = this.#clock.after(ms, () => giveUp(errors.CORE_ERR_CONTROL_DEADLINE({ details: { method, ms } })));
    try {
      return await this.#result(method, exchange);
    } finally {
      timer[Symbol.dispose]();
      options.signal?.removeEventListener('abort', onAbort);
    }
  }

  stream<M extends StreamMethod>(
    method: M,
    params: Params<M>,
    options: { readonly signal?: AbortSignal } = {},
  ): ControlStream<Item<M>, Result<M>> {
    options.signal?.throwIfAborted();
    const exchange = this.#open(method, params);
    const onAbort = (): void => {
      exchange.cancel();
      exchange.fail(cancelled(method, options.signal?.reason));
    };
    options.signal?.addEventListener('abort', onAbort, { once: true });
    exchange.over.addEventListener('abort', () => options.signal?.removeEventListener('abort', onAbort), {
      once: true,
    });
    const result = this.#result(method, exchange);
    result.catch(() => {});
    return {
      result,
      cancel: () => exchange.cancel(),
      [Symbol.asyncIterator]: () => checkedItems(method, exchange),
    };
  }

  async runCommand(params: RunCommandParams, output: CommandOutput): Promise<number> {
    const { signal } = output;
    signal?.throwIfAborted();
    const exchange = this.#open('commands.run', params);
    let timer: Disposable | undefined;
    const onAbort = (): void => {
      exchange.cancel();
      timer = this.#clock.after(this.#timeouts.cancelMs, () => exchange.fail(cancelled(params.name, signal?.reason)));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      exchange.sendInput(output.input ?? noInput()).catch((error: unknown) => {
        exchange.cancel();
        exchange.fail(error);
      });
      // No size is worth a command.
      if (output.resizes !== undefined) exchange.sendSizes(output.resizes).catch(() => {});
      for await (const item of checkedItems('commands.run', exchange)) await output.item(item);
      return (await this.#result('commands.run', exchange)).exit;
    } finally {
      timer?.[Symbol.dispose]();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  #open(method: MethodName, params: object): Exchange {
    if (this.#socket.destroyed) throw this.#closedError(method);
    this.#lastId += 1;
    const id = this.#lastId;
    const send = ({ type, ...fields }: Outbound): number => {
      const body = 'data' in fields ? { data: encodeValue(fields.data) } : fields;
      return this.#write({ type, v: PROTOCOL_VERSION, id, ...body });
    };
    this.#write({ type: 'request', v: PROTOCOL_VERSION, id, method, params: encodeValue(params) });
    const exchange = new Exchange({ method, send });
    // Nobody had to speak while nothing was under way.
    if (this.#exchanges.size === 0) this.#heardAt = this.#clock.now();
    this.#exchanges.set(id, exchange);
    this.#watchSilence();
    return exchange;
  }

  async #result<M extends MethodName>(method: M, exchange: Exchange): Promise<Result<M>> {
    const result = await exchange.result;
    const parsed = RESULTS[method].safeParse(result);
    if (!parsed.success) throw misfit(`the result of ${method}`, parsed.error);
    return parsed.data as Result<M>;
  }

  #write(message: object): number {
    const frame = encodeFrame(message, MAX_FRAME);
    if (!this.#socket.destroyed) this.#socket.write(frame);
    return Buffer.byteLength(frame);
  }

  #receive(chunk: Uint8Array): void {
    this.#heardAt = this.#clock.now();
    try {
      this.#decoder.push(chunk, (frame, bytes) => {
        if (this.#failure === undefined) this.#handle(parseServerMessage(frame), bytes);
      });
    } catch (error) {
      this.#break(error);
    }
  }

  #handle(message: ServerMessage, bytes: number): void {
    if (message.type === 'hello') {
      this.#greet(message);
    } else if (message.type === 'error' && message.id === undefined) {
      this.#break(fromErrorRecord(message.error));
    } else {
      const id = message.id as number;
      // One that was given up before its answer came is unknown.
      const exchange = this.#exchanges.get(id);
      if (exchange !== undefined) this.#continue(exchange, id, message, bytes);
    }
  }

  #continue(exchange: Exchange, id: number, message: Exclude<ServerMessage, HelloMessage>, bytes: number): void {
    if (message.type === 'item') {
      exchange.addItem(decodeValue(message.data), bytes);
    } else if (message.type === 'credit') {
      exchange.grant(message.bytes);
    } else {
      this.#exchanges.delete(id);
      if (message.type === 'error') exchange.fail(fromErrorRecord(message.error));
      else exchange.succeed(decodeValue(message.data));
    }
  }

  #greet(hello: HelloMessage): void {
    if (hello.v === PROTOCOL_VERSION) {
      this.#hello = hello;
      this.#greeting.resolve();
    } else {
      this.#break(errors.CORE_ERR_CONTROL_VERSION({ details: { asked: PROTOCOL_VERSION, spoken: hello.v } }));
    }
  }

  /** While something is under way, pings; a runtime that hangs is noticed without a limit on long commands. */
  #watchSilence(): void {
    if (this.#watch !== undefined) return;
    const { silenceMs: ms } = this.#timeouts;
    this.#watch = this.#clock.after(ms / 3, () => {
      this.#watch = undefined;
      if (this.#exchanges.size === 0 || this.#socket.destroyed) return;
      if (this.#clock.now() - this.#heardAt > ms) {
        const [waiting] = this.#exchanges.values();
        this.#break(errors.CORE_ERR_CONTROL_DEADLINE({ details: { method: waiting?.method, ms } }));
        return;
      }
      // No exchange: any answer is a sign of life.
      this.#lastId += 1;
      this.#write({ type: 'request', v: PROTOCOL_VERSION, id: this.#lastId, method: 'ping' });
      this.#watchSilence();
    });
  }

  #break(error: unknown): void {
    this.#failure ??= error;
    this.#socket.destroy();
  }

  #end(path: string): void {
    this.#watch?.[Symbol.dispose]();
    this.#greeting.reject(this.#failure ?? errors.CORE_ERR_CONTROL_UNREACHABLE({ details: { path } }));
    for (const exchange of this.#exchanges.values()) exchange.fail(this.#closedError(exchange.method));
    this.#exchanges.clear();
  }

  #closedError(method: string): Error {
    return errors.CORE_ERR_CONTROL_CLOSED({ details: { method }, cause: this.#failure });
  }
}

async function* checkedItems<M extends StreamMethod>(method: M, exchange: Exchange): AsyncGenerator<Item<M>, void> {
  for await (const item of exchange.items()) {
    const parsed = ITEMS[method].safeParse(item);
    if (!parsed.success) throw misfit(`an item of ${method}`, parsed.error);
    yield parsed.data as Item<M>;
  }
}

function misfit(what: string, cause: unknown): Error {
  return errors.CORE_ERR_WIRE({ details: { why: `${what} is not of its form` }, cause });
}

async function* noInput(): AsyncGenerator<Uint8Array, void> {}
