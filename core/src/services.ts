// Services are capabilities that one plugin offers to others. A consumer holds a handle, never the implementation: the
// handle says who calls, counts what is under way, and waits while the provider is being reloaded.

import { errors } from './core-errors.ts';
import type { Gate } from './gate.ts';
import type { Rebind, ServiceToken } from './tokens.ts';
import type { Tracer } from './tracing.ts';

type Method = (...args: readonly unknown[]) => unknown;

/** The plugin on whose behalf a service method runs, during the synchronous part of the call. */
let currentCaller: string | undefined;

/** Read it before the first `await`; afterwards other calls have run. */
export function callerOfService(): string | undefined {
  return currentCaller;
}

/** Names that every object has, or that other machinery looks for; never a service method. */
const NOT_METHODS: ReadonlySet<string> = new Set([...Object.getOwnPropertyNames(Object.prototype), 'then', 'toJSON']);

export function isMethodName(name: unknown): name is string {
  return typeof name === 'string' && !NOT_METHODS.has(name);
}

export interface ServiceReport {
  readonly service: string;
  readonly version: string;
  readonly provider: string;
  readonly rebind: Rebind;
  readonly consumers: readonly string[];
  /** Calls under way to any service of the provider. */
  readonly inFlight: number;
}

interface ServiceSlot {
  readonly id: string;
  provider: string;
  version: string;
  rebind: Rebind;
  gate: Gate;
  /** `undefined` while the provider is not set up. */
  implementation: object | undefined;
  readonly consumers: Set<string>;
}

/** A call that a plugin waits for; recorded only while that plugin is in a phase with a deadline. */
export interface OpenCall {
  readonly service: string;
  readonly method: string;
  readonly provider: string;
  readonly since: number;
}

export interface ServiceTableOptions {
  readonly tracer: Tracer;
  /** How long a call waits for a provider that is being reloaded, in ms. */
  readonly swapMs: number;
}

/** The services of one runtime. */
export class ServiceTable {
  readonly #slots: Map<string, ServiceSlot> = new Map();
  readonly #watched: Map<string, Set<OpenCall>> = new Map();
  readonly #tracer: Tracer;
  readonly #swapMs: number;

  constructor(options: ServiceTableOptions) {
    this.#tracer = options.tracer;
    this.#swapMs = options.swapMs;
  }

  /** Says who provides the service from now on; the handles that exist follow. */
  assign(token: ServiceToken<object>, gate: Gate): void {
    const slot = this.#slots.get(token.id);
    const { version, rebind } = token;
    if (slot === undefined) {
      const fresh = { id: token.id, provider: gate.owner, version, rebind, gate };
      this.#slots.set(token.id, { ...fresh, implementation: undefined, consumers: new Set() });
    } else if (slot.gate === gate) {
      Object.assign(slot, { version, rebind });
    } else {
      Object.assign(slot, { provider: gate.owner, version, rebind, gate, implementation: undefined });
    }
  }

  /** Nobody provides it any more. */
  unassign(id: string): void {
    const slot = this.#slots.get(id);
    if (slot !== undefined) slot.implementation = undefined;
  }

  implement(id: string, owner: string, implementation: object): void {
    const slot = this.#slots.get(id);
    if (slot?.provider === owner) slot.implementation = implementation;
  }

  isImplemented(id: string): boolean {
    return this.#slots.get(id)?.implementation !== undefined;
  }

  providerOf(id: string): string | undefined {
    return this.#slots.get(id)?.provider;
  }

  /** A handle of `consumer`, or `undefined` when nobody ever provided the service. */
  handle<T extends object>(token: ServiceToken<T>, consumer: string): T | undefined {
    const slot = this.#slots.get(token.id);
    if (slot === undefined) return undefined;
    slot.consumers.add(consumer);
    return this.#makeHandle(slot, consumer) as T;
  }

  /** The plugin was taken down: it consumes nothing any more, and what it offered is not to be called again. */
  release(plugin: string): void {
    for (const slot of this.#slots.values()) {
      slot.consumers.delete(plugin);
      if (slot.provider === plugin) slot.implementation = undefined;
    }
  }

  /** While `work` runs, the calls that `consumer` waits for are recorded, so that a deadline can blame the inner one. */
  async watching<T>(consumer: string, work: () => Promise<T>): Promise<T> {
    this.#watched.set(consumer, new Set());
    try {
      return await work();
    } finally {
      this.#watched.delete(consumer);
    }
  }

  openCalls(consumer: string): readonly OpenCall[] {
    return [...(this.#watched.get(consumer) ?? [])];
  }

  report(): readonly ServiceReport[] {
    return Array.from(this.#slots.values(), (slot) => ({
      service: slot.id,
      version: slot.version,
      provider: slot.provider,
      rebind: slot.rebind,
      consumers: [...slot.consumers].sort(),
      inFlight: slot.gate.inside,
    }));
  }

  /**
   * A method becomes an own property at its first use. From then on the proxy, which stands behind as the prototype, is
   * not asked again.
   */
  #makeHandle(slot: ServiceSlot, consumer: string): object {
    const misses = new Proxy(Object.create(null) as object, {
      get: (_target, key, receiver: object) => {
        if (!isMethodName(key)) return undefined;
        const method = this.#makeMethod(slot, consumer, key);
        Object.defineProperty(receiver, key, { value: method, enumerable: true });
        return method;
      },
      has: (_target, key) =>
        isMethodName(key) && typeof (slot.implementation as Record<string, unknown>)?.[key] === 'function',
      set: () => false,
    });
    return Object.create(misses) as object;
  }

  #makeMethod(slot: ServiceSlot, consumer: string, method: string): Method {
    const name = `${slot.id}.${method}`;
    return (...args) => {
      if (slot.gate.open && this.#watched.size === 0 && !this.#tracer.enabled('service')) {
        return invoke(slot, consumer, method, args);
      }
      return this.#tracer.span('service', name, consumer, () => this.#call(slot, consumer, method, args), {
        provider: slot.provider,
      });
    };
  }

  #call(slot: ServiceSlot, consumer: string, method: string, args: readonly unknown[]): Promise<unknown> {
    const { gate } = slot;
    const details = { service: slot.id, method, provider: slot.provider };
    if (gate.state === 'gone') {
      return Promise.reject(errors.CORE_ERR_SERVICE_GONE({ details: { ...details, state: 'gone' } }));
    }
    const late = (): Error => {
      return errors.CORE_ERR_SERVICE_SWAP_TIMEOUT({ details: { ...details, ms: this.#swapMs } });
    };
    const result = gate.admits(consumer)
      ? invoke(slot, consumer, method, args)
      : gate.pass(this.#swapMs, () => invoke(slot, consumer, method, args), late);
    this.#watch(slot, consumer, method, result);
    return result;
  }

  #watch(slot: ServiceSlot, consumer: string, method: string, result: Promise<unknown>): void {
    const open = this.#watched.get(consumer);
    if (open === undefined) return;
    const call: OpenCall = { service: slot.id, method, provider: slot.provider, since: performance.now() };
    open.add(call);
    const settle = (): void => {
      open.delete(call);
    };
    result.then(settle, settle);
  }
}

function invoke(slot: ServiceSlot, consumer: string, method: string, args: readonly unknown[]): Promise<unknown> {
  const implementation = slot.implementation as Record<string, unknown> | undefined;
  const fn = implementation?.[method];
  if (typeof fn !== 'function') return Promise.reject(cannotCall(slot, method));
  const outer = currentCaller;
  currentCaller = consumer;
  let result: unknown;
  try {
    result = fn.apply(implementation, args);
  } catch (error) {
    return Promise.reject(error);
  } finally {
    currentCaller = outer;
  }
  if (!(result instanceof Promise)) return Promise.resolve(result);
  const { gate } = slot;
  gate.enter();
  result.then(gate.leave, gate.leave);
  return result;
}

function cannotCall(slot: ServiceSlot, method: string): Error {
  const details = { service: slot.id, method, provider: slot.provider };
  return slot.implementation === undefined
    ? errors.CORE_ERR_SERVICE_GONE({ details: { ...details, state: 'not set up' } })
    : errors.CORE_ERR_SERVICE_METHOD({ details });
}
