// A connection to a message bus: https://dbus.freedesktop.org/doc/dbus-specification.html#message-bus

import { closeSync } from 'node:fs';
import { isRuntimeError, type RuntimeError } from '@runtime/core/errors';
import { errors } from '../errors.ts';
import { connectUnix } from '../linux/index.ts';
import { type BusName, busAddress, socketsOf } from './address.ts';
import { DBUS_ERRORS, isRemoteError, remoteError } from './dbus-error.ts';
import { Handshake } from './handshake.ts';
import { matches, matchRule, type SignalRule } from './match.ts';
import { decodeMessage, encodeMessage, type Incoming, type Outgoing, readBody } from './message.ts';
import { checkName } from './names.ts';
import { type ExportedObject, Objects } from './objects.ts';
import { BusStream, type Frame } from './stream.ts';
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

/** Who owns the bus itself. */
const DAEMON = 'org.freedesktop.DBus';
const DAEMON_PATH = '/org/freedesktop/DBus';
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

interface Owner {
  owner: string | undefined;
  users: number;
  /** A signal told, which may be ahead of an answer. */
  wasTold: boolean;
  ready: Promise<void>;
}

interface Subscription {
  readonly rule: SignalRule;
  readonly signature: string | undefined;
  readonly listener: (signal: Signal) => void;
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
  readonly #subscriptions = new Set<Subscription>();
  readonly #rules = new Map<string, number>();
  readonly #owners = new Map<string, Owner>();
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
  async subscribe(
    rule: SignalRule,
    listener: (signal: Signal) => void,
    options: { readonly signature?: string } = {},
  ): Promise<AsyncDisposable> {
    const text = matchRule(rule);
    const subscription: Subscription = { rule, signature: options.signature, listener };
    const { sender } = rule;
    const isWellKnown = sender !== undefined && sender !== DAEMON && !sender.startsWith(':');
    let isOver = false;
    const release = async (): Promise<void> => {
      if (isOver) return;
      isOver = true;
      this.#subscriptions.delete(subscription);
      if (this.#end !== undefined) return;
      try {
        if (isWellKnown) await this.#forgetOwner(sender);
        await this.#removeRule(text);
      } catch (e) {
        if (this.#end === undefined) throw e;
      }
    };
    this.#subscriptions.add(subscription);
    try {
      if (isWellKnown) await this.#knowOwner(sender);
      await this.#addRule(text);
    } catch (e) {
      this.#subscriptions.delete(subscription);
      if (isWellKnown) await this.#forgetOwner(sender).catch(() => {});
      throw e;
    }
    return { [Symbol.asyncDispose]: release };
  }

  /** Offers an object. @throws SDK_ERR_DBUS_VALUE, TypeError (see Objects.add) */
  exportObject(path: string, object: ExportedObject): Disposable {
    if (!this.#watchesLeaving) {
      this.#watchesLeaving = true;
      // Calls of whoever leaves the bus need no answer.
      this.#addRule(LEAVING).catch((e) => this.#problem(e));
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
    for (const subscription of [...this.#subscriptions]) {
      const { rule, signature, listener } = subscription;
      if (!this.#subscriptions.has(subscription) || !matches(rule, message, this.#senderOf(rule))) continue;
      if (signature !== undefined && signature !== message.signature) continue;
      try {
        // Descriptors are not passed on, and an index into none is refused.
        const values = readBody(message, []);
        if (rule.arg0 !== undefined && values[0] !== rule.arg0) continue;
        const { sender = '', path = '', member = '' } = message;
        listener({ sender, path, interface: message.interface ?? '', member, values });
      } catch (e) {
        this.#problem(e);
      }
    }
  }

  #senderOf({ sender }: SignalRule): string | undefined {
    if (sender === undefined || sender === DAEMON || sender.startsWith(':')) return sender;
    return this.#owners.get(sender)?.owner;
  }

  #onDaemonSignal(message: Incoming): void {
    if (message.path !== DAEMON_PATH || message.interface !== DAEMON) return;
    const { member, signature } = message;
    if (member === 'NameOwnerChanged' && signature === 'sss') {
      const [name = '', , owner = ''] = readBody(message, []) as string[];
      const known = this.#owners.get(name);
      if (known !== undefined) Object.assign(known, { owner: owner || undefined, wasTold: true });
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

  // Match rules

  async #addRule(rule: string): Promise<void> {
    const count = this.#rules.get(rule) ?? 0;
    this.#rules.set(rule, count + 1);
    // Each is added as often as it is used: the bus counts as well, and nobody has to wait for somebody else's.
    try {
      await this.#daemon('AddMatch', 's', [rule], '');
    } catch (e) {
      this.#countDown(rule);
      throw e;
    }
  }

  async #removeRule(rule: string): Promise<void> {
    if (this.#countDown(rule)) await this.#daemon('RemoveMatch', 's', [rule], '');
  }

  #countDown(rule: string): boolean {
    const count = this.#rules.get(rule) ?? 0;
    if (count <= 1) this.#rules.delete(rule);
    else this.#rules.set(rule, count - 1);
    return count > 0;
  }

  async #knowOwner(name: string): Promise<void> {
    const known = this.#owners.get(name);
    if (known !== undefined) {
      known.users++;
      return known.ready;
    }
    const find = async (): Promise<void> => {
      await this.#addRule(ownerRule(name));
      const owner = await this.#ownerOf(name);
      if (!entry.wasTold) entry.owner = owner;
    };
    const entry: Owner = { owner: undefined, users: 1, wasTold: false, ready: Promise.resolve() };
    this.#owners.set(name, entry);
    entry.ready = find();
    return entry.ready;
  }

  async #forgetOwner(name: string): Promise<void> {
    const known = this.#owners.get(name);
    if (known === undefined || --known.users > 0) return;
    this.#owners.delete(name);
    await this.#removeRule(ownerRule(name));
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

const LEAVING = `${matchRule({ sender: DAEMON, interface: DAEMON, member: 'NameOwnerChanged' })},arg2=''`;
const ownerRule = (name: string): string =>
  matchRule({ sender: DAEMON, interface: DAEMON, member: 'NameOwnerChanged', arg0: name });

function limit(why: string) {
  return errors.SDK_ERR_DBUS_LIMIT({ details: { why } });
}

/**
 * Connects to a message bus, as the user of this process.
 * @throws SDK_ERR_DBUS_ADDRESS, SDK_ERR_DBUS_CONNECT
 */
export async function connectBus(options: ConnectOptions): Promise<Bus> {
  options.signal?.throwIfAborted();
  const address = busAddress(options.bus);
  if (address === undefined)
    throw errors.SDK_ERR_DBUS_CONNECT({ details: { address: options.bus, why: 'this session has none' } });
  let failure: unknown;
  for (const socket of socketsOf(address)) {
    try {
      return await connectSocket(socket, address, options);
    } catch (e) {
      options.signal?.throwIfAborted();
      failure = e;
    }
  }
  const why = failure instanceof Error ? failure.message : String(failure);
  throw errors.SDK_ERR_DBUS_CONNECT({ details: { address, why } });
}

async function connectSocket(socket: string, address: string, options: ConnectOptions): Promise<Bus> {
  const { timeoutMs = 10_000, signal } = options;
  const bus = new Bus(connectUnix(socket), address, options);
  let timer: NodeJS.Timeout | undefined;
  const give = Promise.withResolvers<never>();
  const onAbort = (): void => give.reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    timer = setTimeout(() => give.reject(new Error(`it does not answer within ${timeoutMs} ms`)), timeoutMs);
    await Promise.race([bus.begin(), give.promise]);
    return bus;
  } catch (e) {
    await bus.close();
    throw e;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}
