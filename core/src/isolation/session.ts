// One process of a plugin, as the runtime serves it: each thing that the process asks for is done through the context of
// the plugin, so that gates, attribution, deadlines and ownership are those of any plugin.

import type { z } from 'zod';
import type { AnyContext } from '../context.ts';
import { errors } from '../core-errors.ts';
import type { EventName, RuntimeEvent } from '../events.ts';
import type { TapFunction } from '../hooks.ts';
import type { AnyPoolToken, Lease, LeaseRequest } from '../resources.ts';
import { defineHook, definePool, type HookToken, type PoolToken } from '../tokens.ts';
import { encodeValue } from '../wire/value.ts';
import { createCommandHandler, type Invocations } from './command-bridge.ts';
import type { ContextTable } from './contexts.ts';
import { MAX_REGISTRATIONS } from './limits.ts';
import {
  CALLS,
  type Calls,
  CHECK_RESULT,
  type HookDescription,
  type PoolDescription,
  parseAs,
  SYNC_CALLS,
  type SyncCalls,
  TELLS,
  type Tells,
} from './messages.ts';
import { ProcessBridge } from './process-bridge.ts';
import type { Registrations } from './registrations.ts';
import { TraceBridge } from './trace-bridge.ts';

export interface SessionOptions {
  readonly ctx: AnyContext;
  readonly contexts: ContextTable;
  readonly registrations: Registrations;
  readonly invocations: Invocations;
  /** Calls the process of the plugin, whichever runs by then. */
  readonly toPlugin: (method: string, args: readonly unknown[], signal?: AbortSignal) => Promise<unknown>;
  /** Delivers an event to the listener registered under `key`, now or when the next process has registered it. */
  readonly deliver: (key: string, event: RuntimeEvent) => void;
  /** The listener under `key` is there; `wantsMissed`: it is to be sent what was kept for it. */
  readonly listening: (key: string, wantsMissed: boolean) => void;
}

/** Of one process; a plugin that errs all the time must not fill the log. */
const MAX_REFUSALS_LOGGED = 20;

type CallTable = { readonly [M in keyof Calls]: (...args: Calls[M]) => unknown };
type TellTable = { readonly [M in keyof Tells]: (...args: Tells[M]) => void };
type SyncTable = { readonly [M in keyof SyncCalls]: (...args: SyncCalls[M]) => unknown };

export class Session {
  readonly #options: SessionOptions;
  readonly #processes: ProcessBridge;
  readonly #traces: TraceBridge;
  readonly #work: Map<number, () => void> = new Map();
  #refused = 0;
  readonly #calls: CallTable;
  readonly #tells: TellTable;
  readonly #sync: SyncTable;

  constructor(options: SessionOptions) {
    this.#options = options;
    const { ctx, toPlugin, contexts } = options;
    this.#processes = new ProcessBridge(ctx, toPlugin);
    this.#traces = new TraceBridge(ctx, contexts);
    this.#calls = this.#makeCalls();
    this.#tells = this.#makeTells();
    this.#sync = this.#makeSync();
  }

  call(method: string, args: readonly unknown[], context: number | undefined): unknown {
    return this.#run(this.#calls, CALLS, method, args, context);
  }

  /** Nobody waits to be told that it could not be done. */
  tell(method: string, args: readonly unknown[], context: number | undefined): void {
    try {
      this.#run(this.#tells, TELLS, method, args, context);
    } catch (err) {
      this.#refused += 1;
      const { ctx } = this.#options;
      if (this.#refused <= MAX_REFUSALS_LOGGED) ctx.log.warn({ method, err }, `a message of ${ctx.name} was refused`);
    }
  }

  answerSync(method: string, args: readonly unknown[], context: number | undefined): unknown {
    return this.#run(this.#sync, SYNC_CALLS, method, args, context);
  }

  /** The process is gone. */
  close(): void {
    for (const done of this.#work.values()) done();
    this.#work.clear();
    this.#traces.close();
  }

  /** @throws CORE_ERR_WIRE for an unknown method or arguments of another form */
  #run(
    table: object,
    schemas: Readonly<Record<string, z.ZodType>>,
    method: string,
    args: readonly unknown[],
    context: number | undefined,
  ): unknown {
    const schema = Object.hasOwn(schemas, method) ? schemas[method] : undefined;
    if (schema === undefined) throw errors.CORE_ERR_WIRE({ details: { why: `there is no method "${method}"` } });
    const checked = parseAs(schema, args, `what "${method}" was given`) as readonly unknown[];
    // The schema of this very method accepted them, which the compiler cannot follow through the union.
    const run = (table as Readonly<Record<string, (...args: readonly unknown[]) => unknown>>)[method];
    return this.#options.contexts.run(context, () => run?.(...checked));
  }

  #makeCalls(): CallTable {
    const { ctx, invocations } = this.#options;
    const io = (invocation: number) => invocations.io(invocation);
    return {
      service: (key, method, args) => this.#service(key, method, args),
      hook: (hook, args) => this.#hook(hook, args),
      spawn: (request) => this.#processes.spawn(request),
      'process.ready': (id) => this.#processes.get(id).ready(),
      'process.exited': (id) => this.#processes.get(id).exited,
      'process.stop': (id) => this.#processes.get(id).stop(),
      'state.read': (name) => ctx.state.read(name),
      'state.write': (name, value) => ctx.state.write(name, value),
      'state.remove': (name) => ctx.state.remove(name),
      'state.list': () => ctx.state.list(),
      'io.out': (id, line) => io(id).out(line),
      'io.err': (id, line) => io(id).err(line),
      'io.write': (id, bytes) => io(id).write(bytes),
      'io.data': (id, value) => io(id).data(value),
      'io.progress': (id, stage, fraction) => io(id).progress(stage, fraction),
      'io.raw': (id, on) => io(id).raw(on),
      'io.input': (id) => invocations.nextInput(id),
      'io.write-err': (id, bytes) => io(id).writeErr(bytes),
      'io.resize': (id) => invocations.nextSize(id),
    };
  }

  #makeTells(): TellTable {
    const { ctx, registrations } = this.#options;
    const events = ctx.events as unknown as {
      emit(topic: string, data: unknown): void;
      retain(topic: string, count: number): void;
    };
    return {
      pong: () => {},
      on: (key, pattern, replay) => this.#on(key, pattern, replay),
      off: (key) => registrations.release(`event ${key}`),
      emit: (topic, data) => events.emit(topic, data),
      retain: (topic, count) => events.retain(topic, count),
      'listener-failed': (topic, event, error) => {
        ctx.log.error({ event: topic, id: event, err: error }, `listener of ${ctx.name} for "${topic}" failed`);
        if (topic === 'core:listener-error') return;
        ctx.events.emit('core:listener-error', { event: topic, plugin: ctx.name, error });
      },
      log: (level, fields, message) => ctx.log[level](fields, message),
      track: (work, label) => this.#track(work, label),
      untrack: (work) => {
        this.#work.get(work)?.();
        this.#work.delete(work);
      },
      'trace.point': (kind, name, plugin, detail) => void ctx.trace.point(kind, name, plugin, detail),
      'trace.span': (span, kind, name, plugin, detail) => this.#traces.span(span, kind, name, plugin, detail),
      'trace.label': (span, labels) => this.#traces.label(span, labels),
      'trace.caused': (span, cause) => this.#traces.caused(span, cause),
      'trace.end': (span, error) => this.#traces.end(span, error),
    };
  }

  #makeSync(): SyncTable {
    const { ctx, registrations, toPlugin, invocations } = this.#options;
    return {
      tap: (key, hook, options) => {
        const fn = (...args: readonly unknown[]): Promise<unknown> => toPlugin('tap', [key, args]);
        const tap = fn as TapFunction<'series', readonly unknown[], unknown>;
        registrations.claim(`tap ${key}`, [hook, options], () => ctx.hooks.tap(tokenOf(hook), tap, options));
      },
      untap: (key) => registrations.release(`tap ${key}`),
      hook: (hook, args) => this.#hook(hook, args),
      lease: (pool, request) => this.#lease(pool, request),
      leaseAll: (requests) => this.#leaseAll(requests),
      release: (pool, key) => registrations.release(leaseKey(pool, key)),
      leases: () => ctx.resources.inspect(),
      command: (key, spec) => {
        const handler = createCommandHandler(key, invocations, toPlugin);
        registrations.claim(key, spec, () => ctx.commands.add(spec, handler));
      },
      check: (key, name) => {
        const check = async () =>
          parseAs(CHECK_RESULT, await toPlugin('check', [key]), `the result of check "${name}"`);
        registrations.claim(key, name, () => ctx.checks.add(name, check));
      },
      remove: (key) => registrations.release(key),
      history: (topic) => ctx.events.history(topic as EventName).filter(({ data }) => canCross(data)),
      process: (id) => this.#processes.info(id),
      processes: () => this.#processes.list(),
      kill: (id, signal) => this.#processes.get(id).kill(signal as NodeJS.Signals),
    };
  }

  #service(key: string, method: string, args: readonly unknown[]): unknown {
    const handles = this.#options.ctx.services as Readonly<Record<string, object | undefined>>;
    const handle = Object.hasOwn(handles, key) ? handles[key] : undefined;
    const fn = (handle as Readonly<Record<string, unknown>> | undefined)?.[method];
    if (typeof fn !== 'function') {
      const details = { service: key, method, provider: '(unknown)' };
      throw errors.CORE_ERR_SERVICE_METHOD({ details });
    }
    return fn.apply(handle, args) as unknown;
  }

  #hook(hook: HookDescription, args: readonly unknown[]): unknown {
    return this.#options.ctx.hooks.call(tokenOf(hook), ...args);
  }

  #on(key: string, pattern: string, replay: number | true): void {
    const { registrations, deliver, listening } = this.#options;
    const id = `event ${key}`;
    // A process that asks for past events gets them anew; one that does not gets those of the time it was away.
    if (replay !== 0) registrations.release(id);
    const listener = (_data: unknown, event: RuntimeEvent): void => deliver(id, event);
    registrations.claim(id, pattern, () =>
      this.#options.ctx.events.on(pattern as EventName, listener as never, { replay }),
    );
    listening(id, replay === 0);
  }

  #track(work: number, label: string): void {
    if (this.#work.has(work) || this.#work.size >= MAX_REGISTRATIONS) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#work.set(work, resolve);
    void this.#options.ctx.track(label, promise);
  }

  #lease(pool: PoolDescription, request: LeaseRequest): LeaseFields {
    const { ctx, registrations } = this.#options;
    const key = leaseKey(pool.id, request.key);
    // One that this process holds already is refused by the pool itself.
    if (registrations.isClaimed(key)) leaseOne(ctx, pool, request);
    return fieldsOf(registrations.claim(key, request, () => leaseOne(ctx, pool, request)));
  }

  #leaseAll(requests: readonly (readonly [PoolDescription, LeaseRequest])[]): readonly LeaseFields[] {
    const { ctx, registrations } = this.#options;
    const keys = requests.map(([pool, request]) => leaseKey(pool.id, request.key));
    if (keys.length > 0 && keys.every((key) => registrations.has(key) && !registrations.isClaimed(key))) {
      // The process before held them all.
      return requests.map(([pool, request]) => this.#lease(pool, request));
    }
    for (const key of keys) if (registrations.has(key) && !registrations.isClaimed(key)) registrations.release(key);
    const leases = ctx.resources.leaseAll(requests.map(([pool, request]) => [poolOf(pool), request] as const));
    return leases.map((lease, i) => fieldsOf(registrations.claim(keys[i] as string, requests[i]?.[1], () => lease)));
  }
}

type LeaseFields = Pick<Lease, 'pool' | 'key' | 'owner' | 'value'>;

function fieldsOf({ pool, key, owner, value }: Lease): LeaseFields {
  return { pool, key, owner, value };
}

function leaseOne(ctx: AnyContext, pool: PoolDescription, request: LeaseRequest): Lease {
  // Whatever the kind: the allocator tells them apart at run time.
  return ctx.resources.lease(poolOf(pool) as PoolToken<'id'>, request);
}

function leaseKey(pool: string, key: string): string {
  return `lease ${JSON.stringify([pool, key])}`;
}

function tokenOf({ id, hookKind, args, version }: HookDescription): HookToken<'series', readonly unknown[], unknown> {
  // The kind is whatever the process said; the bus refuses one that does not fit.
  return defineHook<readonly unknown[], unknown>()(id, hookKind as 'series', args, { version });
}

function poolOf({ id, spec, version }: PoolDescription): AnyPoolToken {
  return definePool(id, spec, { version }) as unknown as AnyPoolToken;
}

function canCross(value: unknown): boolean {
  try {
    encodeValue(value);
    return true;
  } catch {
    return false;
  }
}
