// org.chromium.VmConcierge on a message bus. Without a bus the plugin works all the same; when one comes, or comes back, it is
// used.

import { setTimeout as delay } from 'node:timers/promises';
import type { CheckResult, EventBus, Logger } from '@runtime/sdk';
import {
  type Answer,
  type Bus,
  type BusName,
  busAddress,
  connectBus,
  DBUS_ERRORS,
  DBusError,
  type MethodHandler,
  type OwnedName,
} from '@runtime/sdk/dbus';
import type { Concierge } from '../contract.ts';
import type { Disks } from '../contract-disks.ts';
import { ciceroneWire, conciergeWire } from '../wire/index.ts';
import { NO_SESSION_BUS } from './bus-check.ts';
import type { CiceroneDesk } from './cicerone/handlers.ts';
import type { EmitSignal as EmitCicerone } from './cicerone/methods.ts';
import * as cicerone from './cicerone/methods.ts';
import { ciceroneObject } from './cicerone/object.ts';
import { forwardContainerSignals } from './cicerone/signals.ts';
import { diskMethods } from './disk-methods.ts';
import { INTERFACE, METHODS, type MethodName, type MethodRow, OBJECT_PATH, SERVICE, SIGNALS } from './methods.ts';
import { type EmitSignal, forwardSignals } from './signals.ts';
import type { Full, Handlers } from './types.ts';
import { UNSUPPORTED } from './unsupported.ts';
import { type VmDependencies, vmMethods } from './vm-methods.ts';

/** `auto`: the bus of the session, when there is one. Anything else is a bus address. */
export type DbusMode = 'session' | 'system' | 'off' | 'auto' | (string & {});

export interface DbusDependencies extends Omit<VmDependencies, 'shutdown'> {
  readonly mode: DbusMode;
  readonly concierge: Concierge;
  /** Without it, methods about disks are answered with NotSupported. */
  readonly disks: Disks | undefined;
  /** Without it, org.chromium.VmCicerone is not on the bus. */
  readonly containers?: CiceroneDesk;
  /** Of a VM whose disk is destroyed. */
  readonly removeLogs?: (name: string, owner: string) => void;
  readonly events: Pick<EventBus, 'on'>;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Until the next attempt, after the first that failed, doubled up to thirty times; default 1000. */
  readonly retryMs?: number;
}

export type DbusStatus =
  | { readonly state: 'off'; readonly why: string }
  | { readonly state: 'served'; readonly address: string }
  /** Another program has the name; it becomes ours when that one ends. */
  | { readonly state: 'queued'; readonly address: string }
  | { readonly state: 'waiting'; readonly why: string };

export interface DbusService extends AsyncDisposable {
  status(): DbusStatus;
  /** For `runtime doctor`. */
  check(): CheckResult;
}

/** Resolves when the bus was reached, or could not be: never fails, and goes on trying. */
export async function startDbus(deps: DbusDependencies): Promise<DbusService> {
  const server = new DbusServer(deps);
  await server.start();
  return server;
}

class DbusServer implements DbusService {
  readonly #deps: DbusDependencies;
  readonly #abort = new AbortController();
  /** Longer than any connection. */
  readonly #shutdown = { hasBegun: false };
  #status: DbusStatus = { state: 'off', why: 'it is switched off (crostini.dbus)' };
  #bus: Bus | undefined;
  #loop: Promise<void> = Promise.resolve();

  constructor(deps: DbusDependencies) {
    this.#deps = deps;
  }

  status(): DbusStatus {
    return this.#status;
  }

  check(): CheckResult {
    const status = this.#status;
    if (status.state === 'off') return { status: 'ok', found: `no D-Bus: ${status.why}` };
    if (status.state === 'served') return { status: 'ok', found: `${SERVICE} at ${status.address}` };
    if (status.state === 'queued')
      return {
        status: 'warn',
        found: `${SERVICE} belongs to another program at ${status.address}`,
        remedy: `End it (busctl status ${SERVICE} tells which), or switch ours off: crostini.dbus off`,
      };
    return {
      status: 'warn',
      found: `no connection to the D-Bus: ${status.why}`,
      remedy: 'Start a bus, or switch this off: crostini.dbus off',
    };
  }

  async start(): Promise<void> {
    const { mode } = this.#deps;
    if (mode === 'off') return;
    const bus: BusName = mode === 'auto' ? 'session' : mode;
    if (mode === 'auto' && busAddress('session') === undefined) {
      this.#status = { state: 'off', why: NO_SESSION_BUS };
      return;
    }
    const first = Promise.withResolvers<void>();
    this.#loop = this.#serve(bus, () => first.resolve()).finally(() => first.resolve());
    await first.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#bus?.close();
    await this.#loop;
    this.#status = { state: 'off', why: 'the plugin has ended' };
  }

  async #serve(bus: BusName, onAttempt: () => void): Promise<void> {
    const { log, retryMs = 1000 } = this.#deps;
    const { signal } = this.#abort;
    for (let wait = retryMs; !signal.aborted; wait = Math.min(2 * wait, 30 * retryMs)) {
      try {
        this.#bus = await connectBus({
          bus,
          signal,
          onProblem: (e) => log.warn({ err: e }, 'a signal was not handled'),
        });
        using _object = this.#export(this.#bus);
        const name = await this.#takeName(this.#bus);
        using _cicerone = await this.#serveCicerone(this.#bus);
        const emit: EmitSignal = (member, values) => this.#emit(name, member, values);
        using _signals = forwardSignals(this.#deps, emit);
        wait = retryMs;
        onAttempt();
        const why = await this.#bus.closed;
        if (why !== undefined) this.#fail(why);
      } catch (e) {
        if (!signal.aborted) this.#fail(e);
      } finally {
        await this.#bus?.close();
        this.#bus = undefined;
      }
      onAttempt();
      // Nothing has to be kept alive for the next attempt.
      await delay(wait, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  #fail(e: unknown): void {
    const why = e instanceof Error ? e.message : String(e);
    // Once for each reason: attempts go on for as long as the runtime does.
    if (this.#status.state !== 'waiting' || this.#status.why !== why)
      this.#deps.log.warn({ err: e }, 'concierge is not on the D-Bus');
    this.#status = { state: 'waiting', why };
  }

  async #takeName(bus: Bus): Promise<OwnedName> {
    const { log } = this.#deps;
    const { address } = bus;
    const served = (): void => {
      this.#status = { state: 'served', address };
      log.info({ address }, 'concierge is on the D-Bus');
    };
    const name = await bus.requestName(SERVICE, {
      queue: true,
      onAcquired: served,
      onLost: () => {
        this.#status = { state: 'queued', address };
      },
    });
    if (!name.isOwned) this.#status = { state: 'queued', address };
    else if (this.#status.state !== 'served') served();
    return name;
  }

  #export(bus: Bus): Disposable {
    const { concierge, disks, removeLogs } = this.#deps;
    const deps = { ...this.#deps, shutdown: this.#shutdown };
    const handlers = {
      ...vmMethods(deps, async (sender) => (await bus.credentialsOf(sender)).uid),
      ...(disks !== undefined && diskMethods({ disks, concierge, removeLogs })),
    } as Partial<Handlers>;
    const methods = Object.keys(METHODS).map((name) => [name, serve(name as MethodName, handlers)] as const);
    return bus.exportObject(OBJECT_PATH, {
      [SERVICE]: { spec: INTERFACE, methods: Object.fromEntries(methods) },
    });
  }

  /** A second name and object, of whoever asks for containers. */
  async #serveCicerone(bus: Bus): Promise<Disposable> {
    const { containers, events } = this.#deps;
    const stack = new DisposableStack();
    if (containers === undefined) return stack;
    let name: OwnedName | undefined;
    const emit: EmitCicerone = (member, values) => {
      if (name?.isOwned !== true) return;
      const bytes = ciceroneWire.encode(`vm_tools.cicerone.${cicerone.SIGNALS[member]}`, values);
      bus.emit({ path: cicerone.OBJECT_PATH, interface: cicerone.SERVICE, member, signature: 'ay', values: [bytes] });
    };
    stack.use(bus.exportObject(cicerone.OBJECT_PATH, { [cicerone.SERVICE]: ciceroneObject(containers, emit) }));
    stack.use(forwardContainerSignals(events, containers, emit));
    name = await bus.requestName(cicerone.SERVICE, { queue: true });
    return stack;
  }

  #emit(name: OwnedName, member: keyof typeof SIGNALS, values: object): void {
    // Whoever waits for the name does not speak for concierge.
    if (!name.isOwned) return;
    const bytes = conciergeWire.encode(`vm_tools.concierge.${SIGNALS[member]}`, values);
    this.#bus?.emit({ path: OBJECT_PATH, interface: SERVICE, member, signature: 'ay', values: [bytes] });
  }
}

type AnyHandler = (request: unknown, fds: readonly number[], call: unknown) => Promise<object | void>;

function serve(name: MethodName, handlers: Partial<Handlers>): MethodHandler {
  const row: MethodRow = METHODS[name];
  const handler = (handlers as Readonly<Record<string, AnyHandler | undefined>>)[name];
  if (handler === undefined) {
    const why = (UNSUPPORTED as Readonly<Record<string, string>>)[name] ?? 'there are no disks in this runtime';
    return () => {
      throw new DBusError(DBUS_ERRORS.notSupported, `${name} is not supported: ${why}`);
    };
  }
  return async (args, call): Promise<Answer> => {
    const request = row.request === undefined ? undefined : decode(row.request, args[0] as Uint8Array);
    const fds = args.slice(1).flat() as readonly number[];
    const answer = await handler(request, fds, call);
    return row.response === undefined ? [] : [conciergeWire.encode(fullName(row.response), answer as object)];
  };
}

function decode(name: NonNullable<MethodRow['request']>, bytes: Uint8Array): unknown {
  try {
    return conciergeWire.decode(fullName(name), bytes);
  } catch (e) {
    const why = e instanceof Error ? e.message : String(e);
    throw new DBusError(DBUS_ERRORS.invalidArgs, `Unable to parse ${name} from message: ${why}`);
  }
}

function fullName<N extends NonNullable<MethodRow['request']>>(name: N): Full<N> {
  return `vm_tools.concierge.${name}`;
}
