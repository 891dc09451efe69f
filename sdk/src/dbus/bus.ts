// A connection to a message bus: https://dbus.freedesktop.org/doc/dbus-specification.html#message-bus

import { closeSync } from 'node:fs';
import { isRuntimeError, type RuntimeError } from '@runtime/core/errors';
import { errors } from '../errors.ts';
import type {
  BusLimits,
  CallRequest,
  ConnectOptions,
  Credentials,
  NameOptions,
  OwnedName,
  Reply,
  Signal,
} from './bus-types.ts';
import { DBUS_ERRORS, isRemoteError, remoteError } from './dbus-error.ts';
import { Handshake } from './handshake.ts';
import type { SignalRule } from './match.ts';
import { decodeMessage, encodeMessage, type Incoming, type Outgoing, readBody } from './message.ts';
import { checkName, DAEMON, DAEMON_PATH } from './names.ts';
import { type ExportedObject, Objects } from './objects.ts';
import { BusStream, type Frame } from './stream.ts';
import { LEAVING, Subscriptions } from './subscriptions.ts';
import type { Value } from './value.ts';

const NAME_FLAGS = { allowReplacement: 1, replace: 2, doNotQueue: 4 };
const NAME_RESULT = { owner: 1, exists: 3 };
const CALL_MS = 25_000;

interface Pending {
  readonly request: CallRequest;
  readonly timer: NodeJS.Timeout;
  readonly onAbort: () => void;
  resolve(reply: Reply): void;
  reject(e: unknown): void;
}

interface Name {
  isOwned: boolean;
  /** Signals tell of changes, and may be ahead of the answer to what caused them. */
  wasTold: boolean;
  readonly options: NameOptions;
}

/**
 * A connection to a bus, made by {@link connectBus}. When the bus goes away, every call that waits is rejected, `closed`
 * resolves, and whoever wants to goes on with a new connection.
 */
export class Bus implements AsyncDisposable {
  readonly address: string;
  /** Resolves when there is no connection any more: with what ended it, or undefined after close(). */
  readonly closed: Promise<RuntimeError | undefined>;
  readonly #options: ConnectOptions;
  readonly #limits: Required<BusLimits>;
  readonly #stream: BusStream;
  readonly #handshake = new Handshake();
  readonly #objects: Objects;
  readonly #pending = new Map<number, Pending>();
  readonly #subscriptions: Subscriptions;
  readonly #names = new Map<string, Name>();
  #uniqueName = '';
  #serial = 0;
  #watchesLeaving = false;
  #end: RuntimeError | 'closed' | undefined;
  #resolveClosed: (e: RuntimeError | undefined) => void = () => {};
  #resolveHandshake: () => void = () => {};
  #rejectHandshake: (e: unknown) => void = () => {};
  readonly #shaken: Promise<void>;

  /** @internal Use connectBus(). */
  constructor(fd: number, address: string, options: ConnectOptions) {
    this.address = address;
    this.#options = options;
    this.#limits = {
      ...{ maxMessageBytes: 2 ** 24, maxFds: 64, maxPendingCalls: 4096, maxCallsPerSender: 128, maxCalls: 2048 },
      ...{ maxQueuedBytes: 2 ** 26, ...options.limits },
    };
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#shaken = new Promise((resolve, reject) => {
      this.#resolveHandshake = resolve;
      this.#rejectHandshake = reject;
    });
    this.#shaken.catch(() => {});
    const { maxCallsPerSender, maxCalls, maxFds } = this.#limits;
    this.#objects = new Objects({
      ...{ errorPrefix: options.errorPrefix ?? 'org.chromium.Runtime.Error', maxCallsPerSender, maxCalls, maxFds },
      send: (message) => void this.#send(message),
    });
    this.#subscriptions = new Subscriptions({
      daemon: async (member, signature, args) => void (await this.#daemon(member, signature, args, '')),
      ownerOf: (name) => this.#ownerOf(name),
      isOver: () => this.#end !== undefined,
      onProblem: (problem) => this.#problem(problem),
    });
    this.#stream = new BusStream(fd, this.#limits.maxMessageBytes, {
      onLine: (line) => this.#onLine(line),
      onFrame: (frame) => this.#onFrame(frame),
      onEnd: (cause) => this.#onEnd(cause),
    });
    this.#stream.send(Buffer.from(this.#handshake.start()));
  }

  /** @internal */
  async begin(): Promise<void> {
    await this.#shaken;
    const [name] = (await this.#daemon('Hello', '', [], 's')) as [string];
    this.#uniqueName = name;
  }

  /** What the bus calls this connection, such as `:1.42`. */
  get uniqueName(): string {
    return this.#uniqueName;
  }

  /** Whether descriptors can be passed; a bus may be set up otherwise. */
  get passesFds(): boolean {
    return this.#handshake.passesFds;
  }

  /**
   * Calls a method. @throws SDK_ERR_DBUS_REMOTE when it is answered with an error ({@link isRemoteError}),
   * SDK_ERR_DBUS_TIMEOUT, SDK_ERR_DBUS_CLOSED, SDK_ERR_DBUS_LIMIT, SDK_ERR_DBUS_VALUE, SDK_ERR_DBUS_PROTOCOL for an answer
   * other than `returns`
   */
  call(request: CallRequest): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const { service, path, member, signature = '', args = [], timeoutMs = CALL_MS, signal } = request;
      checkName('bus name', service);
      checkName('object path', path);
      checkName('interface', request.interface);
      checkName('member', member);
      signal?.throwIfAborted();
      if (this.#pending.size >= this.#limits.maxPendingCalls)
        throw limit(`${this.#pending.size} calls are not answered yet`);
      const serial = this.#send({
        ...{ type: 'call', destination: service, path, interface: request.interface, member, signature, values: args },
        ...(request.autoStart === false && { noAutoStart: true }),
      });
      const onAbort = (): void => this.#settle(serial)?.reject(signal?.reason);
      const timer = setTimeout(
        () => {
          const details = { method: `${request.interface}.${member}`, service, seconds: timeoutMs / 1000 };
          this.#settle(serial)?.reject(errors.SDK_ERR_DBUS_TIMEOUT({ details }));
        },
        Math.min(timeoutMs, 2 ** 31 - 1),
      );
      this.#pending.set(serial, { request, timer, onAbort, resolve, reject });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Sends a signal. @throws SDK_ERR_DBUS_VALUE, SDK_ERR_DBUS_CLOSED */
  emit(signal: {
    readonly path: string;
    readonly interface: string;
    readonly member: string;
    readonly signature?: string;
    readonly values?: readonly Value[];
    /** Default: all who want it. */
    readonly destination?: string;
  }): void {
    checkName('object path', signal.path);
    checkName('interface', signal.interface);
    checkName('member', signal.member);
    this.#send({ type: 'signal', ...signal });
  }

  /**
   * Calls `listener` for each signal that is meant, from when this resolves until the result is disposed of. With
   * `signature`, signals with other values are passed over. Descriptors that come with signals are closed.
   * @throws SDK_ERR_DBUS_VALUE, SDK_ERR_DBUS_REMOTE (LimitsExceeded), SDK_ERR_DBUS_CLOSED
   */
  subscribe(
    rule: SignalRule,
    listener: (signal: Signal) => void,
    options: { readonly signature?: string } = {},
  ): Promise<AsyncDisposable> {
    return this.#subscriptions.add(rule, listener, options.signature);
  }

  /** Offers an object. @throws SDK_ERR_DBUS_VALUE, TypeError (see Objects.add) */
  exportObject(path: string, object: ExportedObject): Disposable {
    if (!this.#watchesLeaving) {
      this.#watchesLeaving = true;
      // Calls of whoever leaves the bus need no answer.
      this.#subscriptions.addRule(LEAVING).catch((e) => this.#problem(e));
    }
    return this.#objects.add(path, object);
  }

  /**
   * Asks for a name. @throws SDK_ERR_DBUS_NAME_TAKEN when another has it and `queue` is not set; SDK_ERR_DBUS_REMOTE when
   * the bus does not allow it (AccessDenied)
   */
  async requestName(name: string, options: NameOptions = {}): Promise<OwnedName> {
    checkName('bus name', name);
    if (this.#names.has(name)) throw new TypeError(`${name} is asked for already`);
    const entry: Name = { isOwned: false, wasTold: false, options };
    this.#names.set(name, entry);
    const flags =
      (options.allowReplacement ? NAME_FLAGS.allowReplacement : 0) |
      (options.replace ? NAME_FLAGS.replace : 0) |
      (options.queue ? 0 : NAME_FLAGS.doNotQueue);
    try {
      const [result] = await this.#daemon('RequestName', 'su', [name, flags], 'u');
      if (result === NAME_RESULT.exists) {
        const owner = await this.#ownerOf(name).catch(() => undefined);
        throw errors.SDK_ERR_DBUS_NAME_TAKEN({ details: { name, owner: owner ?? 'another' } });
      }
      if (!entry.wasTold) entry.isOwned = result === NAME_RESULT.owner;
    } catch (e) {
      this.#names.delete(name);
      throw e;
    }
    const release = async (): Promise<void> => {
      if (this.#names.get(name) !== entry) return;
      this.#names.delete(name);
      entry.isOwned = false;
      if (this.#end !== undefined) return;
      await this.#daemon('ReleaseName', 's', [name], 'u').catch((e) => {
        if (this.#end === undefined) throw e;
      });
    };
    return {
      name,
      get isOwned() {
        return entry.isOwned;
      },
      release,
      [Symbol.asyncDispose]: release,
    };
  }

  /** Of a connection, by the word of the kernel. @throws SDK_ERR_DBUS_REMOTE (NameHasNoOwner) when it is gone */
  async credentialsOf(name: string): Promise<Credentials> {
    checkName('bus name', name);
    const [map] = await this.#daemon('GetConnectionCredentials', 's', [name], 'a{sv}');
    const one = (key: string): unknown =>
      ((map as ReadonlyMap<string, { value: unknown }>).get(key) ?? { value: undefined }).value;
    const uid = one('UnixUserID');
    const pid = one('ProcessID');
    if (typeof uid !== 'number')
      throw errors.SDK_ERR_DBUS_PROTOCOL({ details: { why: `it does not know the user of ${name}` } });
    return { uid, pid: typeof pid === 'number' ? pid : undefined };
  }

  /** Sends what waits to be sent, a second at most, and hangs up. Calls that wait are rejected. */
  async close(): Promise<void> {
    const deadline = performance.now() + 1000;
    while (this.#end === undefined && this.#stream.queuedBytes > 0 && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 5));
    this.#end ??= 'closed';
    this.#stream[Symbol.dispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // Sending

  #send(message: Omit<Outgoing, 'serial'>): number {
    if (this.#end !== undefined) {
      // An answer that comes late has nobody to go to.
      if (message.type === 'return' || message.type === 'error') return 0;
      throw this.#closedError();
    }
    this.#serial = this.#serial >= 2 ** 32 - 1 ? 1 : this.#serial + 1;
    const { bytes, fds } = encodeMessage({ ...message, serial: this.#serial });
    if (fds.length > 0 && !this.passesFds) throw limit('this bus passes no descriptors');
    if (this.#stream.queuedBytes + bytes.length > this.#limits.maxQueuedBytes) {
      this.#end = limit(`${this.#stream.queuedBytes} bytes wait to be sent`);
      this.#stream[Symbol.dispose]();
      throw this.#end;
    }
    this.#stream.send(bytes, fds);
    return this.#serial;
  }

  async #daemon(member: string, signature: string, args: readonly Value[], returns: string): Promise<readonly Value[]> {
    const request = { service: DAEMON, path: DAEMON_PATH, interface: DAEMON, member, signature, args, returns };
    return (await this.call(request)).values;
  }

  #settle(serial: number): Pending | undefined {
    const pending = this.#pending.get(serial);
    if (pending === undefined) return undefined;
    this.#pending.delete(serial);
    clearTimeout(pending.timer);
    pending.request.signal?.removeEventListener('abort', pending.onAbort);
    return pending;
  }

  // Receiving

  #onLine(line: string): void {
    this.#stream.send(Buffer.from(this.#handshake.answer(line)));
    if (!this.#handshake.isDone) return;
    this.#stream.beginMessages();
    this.#resolveHandshake();
  }

  #onFrame({ bytes, oversize }: Frame): void {
    const message = decodeMessage(bytes);
    const fds = this.#stream.takeFds(message.fdCount);
    if (fds === undefined)
      throw errors.SDK_ERR_DBUS_PROTOCOL({ details: { why: 'a message came without its descriptors' } });
    if (!this.#dispatch(message, fds, oversize)) for (const fd of fds) closeSync(fd);
  }

  /** Whether the descriptors are taken care of. */
  #dispatch(message: Incoming, fds: readonly number[], isOversize: boolean): boolean {
    if (message.type === 'call') {
      if (isOversize) this.#objects.refuse(message, `the call takes more than ${this.#limits.maxMessageBytes} bytes`);
      else void this.#objects.call(message, fds);
      return !isOversize;
    }
    if (message.type === 'signal') {
      if (!isOversize) this.#onSignal(message);
      return false;
    }
    const pending = message.type === 'unknown' ? undefined : this.#settle(message.replySerial ?? 0);
    if (pending === undefined) return false;
    if (isOversize) {
      pending.reject(limit(`the answer takes more than ${this.#limits.maxMessageBytes} bytes`));
      return false;
    }
    return this.#onReply(message, fds, pending);
  }

  #onReply(message: Incoming, fds: readonly number[], { request, resolve, reject }: Pending): boolean {
    const method = `${request.interface}.${request.member}`;
    try {
      if (message.type === 'error') {
        const [why] = message.signature.startsWith('s') ? readBody(message, fds) : [];
        const details = { service: request.service, method, name: message.errorName ?? '', why: String(why ?? '') };
        reject(remoteError(details));
        return false;
      }
      const { returns } = request;
      if (returns !== undefined && message.signature !== returns) {
        const why = `${method} of ${request.service} answered "${message.signature}", not "${returns}"`;
        throw errors.SDK_ERR_DBUS_PROTOCOL({ details: { why } });
      }
      resolve({ values: readBody(message, fds), fds });
      return true;
    } catch (e) {
      reject(e);
      return false;
    }
  }

  #onSignal(message: Incoming): void {
    if (message.sender === DAEMON) this.#onDaemonSignal(message);
    this.#subscriptions.tell(message);
  }

  #onDaemonSignal(message: Incoming): void {
    if (message.path !== DAEMON_PATH || message.interface !== DAEMON) return;
    const { member, signature } = message;
    if (member === 'NameOwnerChanged' && signature === 'sss') {
      const [name = '', , owner = ''] = readBody(message, []) as string[];
      this.#subscriptions.ownerChanged(name, owner);
      if (owner === '') this.#objects.abort(name);
    }
    if ((member === 'NameLost' || member === 'NameAcquired') && signature === 's') {
      const [name = ''] = readBody(message, []) as string[];
      const entry = this.#names.get(name);
      const isOwned = member === 'NameAcquired';
      if (entry === undefined || (entry.isOwned === isOwned && !isOwned)) return;
      entry.isOwned = isOwned;
      entry.wasTold = true;
      try {
        if (isOwned) entry.options.onAcquired?.();
        else entry.options.onLost?.();
      } catch (e) {
        this.#problem(e);
      }
    }
  }

  #onEnd(cause: unknown): void {
    if (this.#end === undefined) {
      const why = isRuntimeError(cause) ? cause.message : cause === undefined ? 'it has hung up' : String(cause);
      this.#end = errors.SDK_ERR_DBUS_CLOSED({ details: { address: this.address, why } });
    }
    const error = this.#closedError();
    this.#rejectHandshake(error);
    for (const serial of [...this.#pending.keys()]) this.#settle(serial)?.reject(error);
    this.#objects.abort();
    this.#subscriptions.clear();
    for (const entry of this.#names.values()) entry.isOwned = false;
    this.#names.clear();
    this.#resolveClosed(this.#end === 'closed' ? undefined : error);
  }

  #closedError(): RuntimeError {
    if (this.#end !== undefined && this.#end !== 'closed') return this.#end;
    return errors.SDK_ERR_DBUS_CLOSED({ details: { address: this.address, why: 'it was closed here' } });
  }

  async #ownerOf(name: string): Promise<string | undefined> {
    try {
      return (await this.#daemon('GetNameOwner', 's', [name], 's'))[0] as string;
    } catch (e) {
      if (isRemoteError(e, DBUS_ERRORS.nameHasNoOwner)) return undefined;
      throw e;
    }
  }

  #problem(problem: unknown): void {
    if (this.#options.onProblem !== undefined) this.#options.onProblem(problem);
    else process.emitWarning(problem instanceof Error ? problem : String(problem));
  }
}

function limit(why: string) {
  return errors.SDK_ERR_DBUS_LIMIT({ details: { why } });
}
