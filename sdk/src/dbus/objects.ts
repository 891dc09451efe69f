// The objects that others on the bus call.

import { closeSync, readFileSync } from 'node:fs';
import { DBUS_ERRORS, DBusError, errorReply } from './dbus-error.ts';
import { type InterfaceSpec, introspectionXml, type MethodSpec, STANDARD, signatureOf } from './interfaces.ts';
import { type Incoming, type Outgoing, readBody } from './message.ts';
import { checkName } from './names.ts';
import { parseSignature } from './signature.ts';
import type { Value, Variant } from './value.ts';

/** A call, as its handler sees it. */
export interface CallContext {
  /** Unique name of who calls. */
  readonly sender: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** All that came with it; those that nobody takes are closed when the handler has ended. */
  readonly fds: readonly number[];
  /** Makes a descriptor that came with the call the handler's, to close. */
  take(fd: number): number;
  /** Aborted when the caller has left the bus, or the bus is gone: nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** Values of the answer, in the order of `out`; with `close`, descriptors to be closed once they are sent. */
export type Answer = readonly Value[] | { readonly values: readonly Value[]; readonly close: readonly number[] };
export type MethodHandler = (args: readonly Value[], call: CallContext) => Answer | void | Promise<Answer | void>;

export interface ExportedInterface {
  readonly spec: InterfaceSpec;
  /** One for each method of `spec`. */
  readonly methods?: Readonly<Record<string, MethodHandler>>;
  get?(property: string): Value | Promise<Value>;
  set?(property: string, value: Value, call: CallContext): void | Promise<void>;
}
export type ExportedObject = Readonly<Record<string, ExportedInterface>>;

export interface ObjectsOptions {
  readonly errorPrefix: string;
  /** Calls of one caller that are not answered yet. */
  readonly maxCallsPerSender: number;
  readonly maxCalls: number;
  readonly maxFds: number;
  send(message: Omit<Outgoing, 'serial'>): void;
}

interface Running {
  readonly sender: string;
  readonly abort: AbortController;
}

export class Objects {
  readonly #options: ObjectsOptions;
  readonly #objects = new Map<string, ExportedObject>();
  readonly #running = new Set<Running>();
  readonly #perSender = new Map<string, number>();

  constructor(options: ObjectsOptions) {
    this.#options = options;
  }

  /** @throws SDK_ERR_DBUS_VALUE; TypeError when a path is taken, or methods and handlers do not agree */
  add(path: string, object: ExportedObject): Disposable {
    checkName('object path', path);
    for (const [name, one] of Object.entries(object)) checkInterface(name, one);
    if (this.#objects.has(path)) throw new TypeError(`there is an object at ${path} already`);
    this.#objects.set(path, object);
    return {
      [Symbol.dispose]: () => {
        if (this.#objects.get(path) === object) this.#objects.delete(path);
      },
    };
  }

  /** Answers a call. The descriptors are this one's to close. */
  async call(message: Incoming, fds: readonly number[]): Promise<void> {
    const { sender = '', path = '', member = '' } = message;
    const abort = new AbortController();
    const running: Running = { sender, abort };
    const left = new Set(fds);
    let closeAfter: readonly number[] = [];
    try {
      this.#enter(running);
      const method = this.#find(message);
      const args = this.#argumentsOf(message, method.spec, fds);
      const context: CallContext = {
        ...{ sender, path, interface: method.interface, member, fds, signal: abort.signal },
        take(fd) {
          if (!left.delete(fd)) throw new TypeError(`descriptor ${fd} did not come with this call, or is taken`);
          return fd;
        },
      };
      const answer = (await method.handler(args, context)) ?? [];
      const values = 'close' in answer ? answer.values : answer;
      if ('close' in answer) closeAfter = answer.close;
      this.#answer(message, { type: 'return', signature: signatureOf(method.spec.out), values });
    } catch (e) {
      this.#answerError(message, e);
    } finally {
      this.#leave(running);
      for (const fd of [...left, ...closeAfter]) closeQuietly(fd);
    }
  }

  #answerError(call: Incoming, e: unknown): void {
    const { name, message } = errorReply(e, this.#options.errorPrefix);
    try {
      this.#answer(call, { type: 'error', errorName: name, signature: 's', values: [message] });
    } catch {
      // There is no way to answer any more: what waits to be sent was too much, and the connection has ended.
    }
  }

  /** A call too large to be read. */
  refuse(message: Incoming, why: string): void {
    this.#answer(message, {
      ...{ type: 'error', errorName: DBUS_ERRORS.limitsExceeded, signature: 's', values: [why] },
    });
  }

  /** Nobody waits for the answers to `sender` any more; without one, to nobody. */
  abort(sender?: string): void {
    for (const one of this.#running) if (sender === undefined || one.sender === sender) one.abort.abort();
  }

  #enter(running: Running): void {
    const count = this.#perSender.get(running.sender) ?? 0;
    this.#perSender.set(running.sender, count + 1);
    this.#running.add(running);
    const { maxCallsPerSender, maxCalls } = this.#options;
    if (this.#running.size > maxCalls)
      throw new DBusError(DBUS_ERRORS.limitsExceeded, `${maxCalls} calls are unanswered`);
    if (count >= maxCallsPerSender)
      throw new DBusError(DBUS_ERRORS.limitsExceeded, `${maxCallsPerSender} calls of ${running.sender} are unanswered`);
  }

  #leave(running: Running): void {
    const count = this.#perSender.get(running.sender) ?? 0;
    if (count <= 1) this.#perSender.delete(running.sender);
    else this.#perSender.set(running.sender, count - 1);
    this.#running.delete(running);
  }

  #answer(call: Incoming, answer: Omit<Outgoing, 'serial'>): void {
    if (call.noReply) return;
    this.#options.send({ ...answer, replySerial: call.serial, ...(call.sender && { destination: call.sender }) });
  }

  #argumentsOf(message: Incoming, spec: MethodSpec, fds: readonly number[]): readonly Value[] {
    const signature = signatureOf(spec.in);
    // Before anything is read: what was not asked for costs nothing.
    if (message.signature !== signature && !spec.accepts?.test(message.signature))
      throw new DBusError(DBUS_ERRORS.invalidArgs, `it takes "${signature}", not "${message.signature}"`);
    if (fds.length > this.#options.maxFds)
      throw new DBusError(DBUS_ERRORS.limitsExceeded, `it takes at most ${this.#options.maxFds} descriptors`);
    try {
      return readBody(message, fds);
    } catch (e) {
      throw new DBusError(DBUS_ERRORS.invalidArgs, e instanceof Error ? e.message : String(e));
    }
  }

  #find(message: Incoming): { interface: string; spec: MethodSpec; handler: MethodHandler } {
    const { path = '', interface: wanted, member = '' } = message;
    const object = this.#objects.get(path);
    const standard = this.#standard(path, object);
    const all: ExportedObject = { ...object, ...standard };
    for (const [name, { spec, methods = {} }] of Object.entries(all)) {
      if (wanted !== undefined && wanted !== name) continue;
      const method = Object.hasOwn(spec.methods ?? {}, member) ? spec.methods?.[member] : undefined;
      const handler = methods[member];
      if (method === undefined || handler === undefined) continue;
      return { interface: name, spec: method, handler };
    }
    if (object === undefined && !this.#isParent(path))
      throw new DBusError(DBUS_ERRORS.unknownObject, `there is no object ${path}`);
    if (wanted !== undefined && !Object.hasOwn(all, wanted))
      throw new DBusError(DBUS_ERRORS.unknownInterface, `${path} has no interface ${wanted}`);
    throw new DBusError(DBUS_ERRORS.unknownMethod, `${wanted ?? path} has no method ${member}`);
  }

  #isParent(path: string): boolean {
    return this.#childrenOf(path).size > 0;
  }

  #childrenOf(path: string): Set<string> {
    const prefix = path === '/' ? '/' : `${path}/`;
    const below = Array.from(this.#objects.keys()).filter((one) => one !== path && one.startsWith(prefix));
    return new Set(below.map((one) => one.slice(prefix.length).split('/')[0] as string));
  }

  /** What each object has; parents of objects can be looked at, and everybody can be pinged. */
  #standard(path: string, object: ExportedObject | undefined): ExportedObject {
    const peer = { spec: STANDARD['org.freedesktop.DBus.Peer'] as InterfaceSpec, methods: PEER };
    const children = this.#childrenOf(path);
    if (object === undefined && children.size === 0 && path !== '/') return { 'org.freedesktop.DBus.Peer': peer };
    const specs = Object.fromEntries(Object.entries(object ?? {}).map(([name, { spec }]) => [name, spec]));
    const standard = { ...STANDARD };
    return {
      'org.freedesktop.DBus.Peer': peer,
      'org.freedesktop.DBus.Introspectable': {
        spec: STANDARD['org.freedesktop.DBus.Introspectable'] as InterfaceSpec,
        methods: { Introspect: () => [introspectionXml({ ...specs, ...standard }, children)] },
      },
      'org.freedesktop.DBus.Properties': {
        spec: STANDARD['org.freedesktop.DBus.Properties'] as InterfaceSpec,
        methods: propertyMethods(object ?? {}),
      },
    };
  }
}

/** A handler that closes what it has not taken has a mistake, which must not end everything. */
function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // It is closed.
  }
}

const PEER: Readonly<Record<string, MethodHandler>> = {
  Ping: () => [],
  GetMachineId: () => {
    for (const file of ['/etc/machine-id', '/var/lib/dbus/machine-id']) {
      try {
        const id = readFileSync(file, 'utf8').trim();
        if (/^[0-9a-f]{32}$/.test(id)) return [id];
      } catch {
        // The other one, then.
      }
    }
    throw new DBusError(DBUS_ERRORS.failed, 'this machine has no id');
  },
};

function propertyMethods(object: ExportedObject): Readonly<Record<string, MethodHandler>> {
  const find = (name: string): ExportedInterface => {
    const found = Object.hasOwn(object, name) ? object[name] : undefined;
    if (found === undefined) throw new DBusError(DBUS_ERRORS.unknownInterface, `there is no interface ${name}`);
    return found;
  };
  const propertyOf = (one: ExportedInterface, property: string) => {
    const { properties = {} } = one.spec;
    const found = Object.hasOwn(properties, property) ? properties[property] : undefined;
    if (found === undefined) throw new DBusError(DBUS_ERRORS.unknownProperty, `there is no property ${property}`);
    return found;
  };
  const read = async (one: ExportedInterface, property: string): Promise<Variant> => {
    const { type, access } = propertyOf(one, property);
    if (access === 'write' || one.get === undefined)
      throw new DBusError(DBUS_ERRORS.accessDenied, `property ${property} cannot be read`);
    return { signature: type, value: await one.get(property) };
  };
  return {
    Get: async ([name, property]) => [await read(find(name as string), property as string)],
    GetAll: async ([name]) => {
      const one = find(name as string);
      const { properties = {} } = one.spec;
      const readable = Object.entries(properties).filter(([, { access }]) => access !== 'write');
      const pairs = readable.map(async ([property]) => [property, await read(one, property)] as const);
      return [new Map(await Promise.all(pairs))];
    },
    Set: async ([name, property, value], call) => {
      const one = find(name as string);
      const { type, access } = propertyOf(one, property as string);
      if (access === 'read' || one.set === undefined)
        throw new DBusError(DBUS_ERRORS.propertyReadOnly, `property ${property} cannot be set`);
      const given = value as Variant;
      if (given.signature !== type)
        throw new DBusError(DBUS_ERRORS.invalidArgs, `property ${property} is a "${type}", not a "${given.signature}"`);
      await one.set(property as string, given.value, call);
    },
  };
}

function checkInterface(name: string, { spec, methods = {} }: ExportedInterface): void {
  checkName('interface', name);
  const { methods: specified = {}, signals = {}, properties = {} } = spec;
  for (const member of [...Object.keys(specified), ...Object.keys(signals), ...Object.keys(properties)])
    checkName('member', member);
  const lists = Object.values(specified).flatMap((method) => [...(method.in ?? []), ...(method.out ?? [])]);
  for (const [argument, type] of [...lists, ...Object.values(signals).flat()]) {
    checkName('member', argument);
    parseSignature(type);
  }
  for (const { type } of Object.values(properties)) parseSignature(type);
  const without = Object.keys(specified).filter((member) => !Object.hasOwn(methods, member));
  const unknown = Object.keys(methods).filter((member) => !Object.hasOwn(specified, member));
  if (without.length > 0 || unknown.length > 0)
    throw new TypeError(`${name}: no handler for ${without.join(', ') || 'none'}; unknown: ${unknown.join(', ')}`);
}
