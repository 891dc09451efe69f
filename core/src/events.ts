// Events are facts that happened. The bus isolates listeners from each other and from the emitter, keeps the order when
// listeners emit, and remembers the last events of each topic for those who come late.

import { AsyncLocalStorage } from 'node:async_hooks';
import { EventEmitter } from 'eventemitter3';
import type { Clock } from './clock.ts';
import { errors } from './core-errors.ts';
import { compileFanOut, type FanOut, loopFanOut, type Outcomes } from './fan-out.ts';
import type { Logger } from './logging.ts';
import type { Scope } from './scope.ts';
import type { Tracer } from './tracing.ts';

/**
 * Topic → payload. Plugins add theirs by declaration merging:
 *
 * ```ts
 * declare module '@runtime/core' {
 *   interface EventMap { 'vm:started': { readonly vmId: string; readonly cid: number } }
 * }
 * ```
 */
export interface EventMap {
  /** A listener threw or rejected. Nobody else noticed; the log has it, too. */
  'core:listener-error': { readonly event: string; readonly plugin: string; readonly error: unknown };
}

export type EventName = keyof EventMap & string;
/** A topic, or a prefix of topics and `*`. */
export type EventPattern = EventName | `${string}*`;
/** The topics that a pattern stands for. */
export type Matching<P extends string> = P extends `${infer Prefix}*`
  ? Extract<EventName, `${Prefix}${string}`>
  : Extract<EventName, P>;

export interface RuntimeEvent<E extends EventName = EventName> {
  /** Unique within the runtime and growing; `runtime trace --why <id>` starts here. */
  readonly id: number;
  readonly topic: E;
  readonly data: EventMap[E];
  /** The plugin that emitted it. */
  readonly source: string;
}

export type EventListener<E extends EventName> = (data: EventMap[E], event: RuntimeEvent<E>) => void | Promise<void>;

export interface ListenOptions {
  /** Delivers up to this many past events first, in order; `true`: all that are remembered. */
  readonly replay?: number | true;
  /** Ends the subscription. */
  readonly signal?: AbortSignal;
}

export interface OnceOptions<E extends EventName> {
  /** Rejects with CORE_ERR_EVENT_TIMEOUT after this many milliseconds; default: no limit. */
  readonly timeoutMs?: number;
  /** Rejects with its reason. */
  readonly signal?: AbortSignal;
  /** Waits for an event for which this holds. */
  readonly where?: (data: EventMap[E]) => boolean;
}

export interface EventBus {
  /** A listener that throws or rejects is reported as `core:listener-error`; nobody else notices. */
  on<P extends EventPattern>(pattern: P, listener: EventListener<Matching<P>>, options?: ListenOptions): Disposable;
  /** @throws (rejects with) CORE_ERR_EVENT_TIMEOUT, or the reason of the signal, or of the plugin's unloading. */
  once<E extends EventName>(topic: E, options?: OnceOptions<E>): Promise<EventMap[E]>;
  /**
   * Returns after every listener was called; never throws. Called from a listener, the event is delivered after the
   * current one, so that all listeners see all events in one order.
   */
  emit<E extends EventName>(topic: E, data: EventMap[E]): void;
  /** What is remembered of a topic, oldest first. */
  history<E extends EventName>(topic: E): readonly RuntimeEvent<E>[];
  /** How many events of the topic are remembered, 0 to 65,536. */
  retain(topic: EventName, count: number): void;
}

/** A hub bug or a hostile process must not fill memory with topics. */
const MAX_TOPICS = 16_384;
const MAX_HISTORY = 65_536;
/** Events delivered in one go before the rest is dropped: listeners that emit each other's topics for ever. */
const MAX_CASCADE = 100_000;

type AnyEvent = RuntimeEvent<EventName>;
type AnyListener = (data: unknown, event: AnyEvent) => unknown;

interface Registration {
  readonly pattern: string;
  readonly owner: string;
  readonly listener: AnyListener;
  /** Only later events are delivered; `Infinity` once removed. */
  after: number;
}

/** Events in a ring: adding is O(1) and never allocates once full. */
class History {
  #events: AnyEvent[] = [];
  #next = 0;
  #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(event: AnyEvent): void {
    if (this.#limit === 0) return;
    this.#events[this.#next] = event;
    this.#next = this.#next + 1 === this.#limit ? 0 : this.#next + 1;
  }

  list(): readonly AnyEvent[] {
    return [...this.#events.slice(this.#next), ...this.#events.slice(0, this.#next)];
  }

  resize(limit: number): void {
    this.#events = limit === 0 ? [] : this.list().slice(-limit);
    this.#limit = limit;
    this.#next = this.#events.length % Math.max(1, limit);
  }
}

/** Emits with the same listeners after which a topic gets a fan-out of its own. */
const COMPILE_AFTER = 200;

class Topic {
  readonly name: string;
  readonly history: History;
  emitted = 0;
  leakReported = false;
  /** Replaced, never changed in place: a delivery under way goes on over the list it began with. */
  #registrations: readonly Registration[] = [];
  #fanOut: FanOut<AnyEvent>;
  #compileAt = COMPILE_AFTER;
  readonly #outcomes: Outcomes<Registration, AnyEvent>;

  constructor(name: string, historyLimit: number, onError: Outcomes<Registration, AnyEvent>['onError']) {
    this.name = name;
    this.history = new History(historyLimit);
    this.#outcomes = {
      onError,
      onResult: (registration, event, result) => {
        if (isThenable(result)) result.then(undefined, (error: unknown) => onError(registration, event, error));
      },
    };
    this.#fanOut = loopFanOut([], this.#outcomes);
  }

  get registrations(): readonly Registration[] {
    return this.#registrations;
  }

  set registrations(registrations: readonly Registration[]) {
    this.#registrations = registrations;
    this.#fanOut = loopFanOut(registrations, this.#outcomes);
    this.#compileAt = this.emitted + COMPILE_AFTER;
  }

  remember(event: AnyEvent): void {
    this.history.add(event);
    this.emitted += 1;
    if (this.emitted === this.#compileAt) {
      this.#fanOut = compileFanOut(this.#registrations, this.#outcomes) ?? this.#fanOut;
    }
  }

  deliver(event: AnyEvent): void {
    this.#fanOut(event);
  }

  deliverTo(registration: Registration, event: AnyEvent): void {
    loopFanOut([registration], this.#outcomes)(event);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return value !== undefined && value !== null && typeof (value as PromiseLike<unknown>).then === 'function';
}

export interface EventHubOptions {
  readonly tracer: Tracer;
  readonly clock: Clock;
  readonly log: Logger;
  /** Events remembered per topic unless {@link EventBus.retain} says otherwise; default 16. */
  readonly history?: number;
  /** Listeners of one topic above which CORE_ERR_EVENT_LEAK is logged; default 100. */
  readonly listenerLimit?: number;
}

export interface TopicReport {
  readonly topic: string;
  /** Plugin → number of listeners. */
  readonly listeners: Readonly<Record<string, number>>;
  readonly emitted: number;
}

/** Emitted while another event was being delivered. */
interface Queued {
  readonly event: AnyEvent;
  readonly dispatch: () => void;
}

/** The listeners of a plugin that is being reloaded, and the last event they were told. */
interface Parked {
  readonly registrations: readonly Registration[];
  readonly upTo: number;
}

/** The bus of one runtime. Plugins get a view of it that knows who they are. */
export class EventHub {
  readonly #emitter: EventEmitter = new EventEmitter();
  readonly #topics: Map<string, Topic> = new Map();
  readonly #wildcards: Set<Registration> = new Set();
  readonly #parked: Map<string, Parked> = new Map();
  readonly #queue: Queued[] = [];
  #delivering = false;
  readonly #tracer: Tracer;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #historyLimit: number;
  readonly #listenerLimit: number;

  constructor(options: EventHubOptions) {
    this.#tracer = options.tracer;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#historyLimit = toHistoryLimit(options.history ?? 16);
    this.#listenerLimit = options.listenerLimit ?? 100;
  }

  /** The view of one plugin; what it registers ends with `scope`. */
  view(scope: Scope): EventBus {
    return {
      on: (pattern, listener, options) => this.#on(scope, pattern, listener as AnyListener, options ?? {}),
      once: (topic, options) => this.#once(scope, topic, options ?? {}),
      emit: (topic, data) => this.emit(scope.owner, topic, data),
      history: <E extends EventName>(topic: E) =>
        (this.#topics.get(topic)?.history.list() ?? []) as readonly RuntimeEvent<E>[],
      retain: (topic, count) => this.#topic(topic)?.history.resize(toHistoryLimit(count)),
    };
  }

  emit<E extends EventName>(source: string, name: E, data: EventMap[E]): void {
    // False: nobody ever listened to the topic or emitted it.
    if (this.#emitter.emit(name, source, data)) return;
    const topic = this.#topic(name);
    if (topic !== undefined) this.#publish(topic, source, data);
  }

  /** What eventemitter3 calls: the one listener of each topic. */
  #publish(topic: Topic, source: string, data: EventMap[EventName]): void {
    const event: AnyEvent = { id: this.#tracer.nextId(), topic: topic.name as EventName, data, source };
    topic.remember(event);
    const isTraced = this.#tracer.enabled('event');
    if (isTraced) this.#tracer.point('event', topic.name, source, data, event.id);
    if (this.#delivering) {
      const dispatch = (): void => this.#dispatch(topic, event);
      // The labels of whoever emitted it, not of the event that is being delivered.
      this.#queue.push({ event, dispatch: isTraced ? AsyncLocalStorage.bind(dispatch) : dispatch });
      return;
    }
    this.#delivering = true;
    try {
      if (isTraced) this.#dispatch(topic, event);
      else topic.deliver(event);
      if (this.#queue.length > 0) this.#drain();
    } finally {
      this.#delivering = false;
    }
  }

  /**
   * From now on the listeners of `owner` are told nothing: what they did not see is for its next instance, which gets it
   * when it listens to the same pattern, or for themselves if they are still there at {@link unpark}.
   */
  park(owner: string): void {
    // A second instance that failed must not hide what the first one missed.
    if (this.#parked.has(owner)) return;
    const all = [...this.#topics.values()].flatMap((topic) => topic.registrations);
    const registrations = [...new Set([...all, ...this.#wildcards])].filter((r) => r.owner === owner);
    for (const registration of registrations) registration.after = Number.POSITIVE_INFINITY;
    this.#parked.set(owner, { registrations, upTo: this.#tracer.nextId() });
  }

  unpark(owner: string): void {
    const parked = this.#parked.get(owner);
    this.#parked.delete(owner);
    for (const registration of parked?.registrations ?? []) {
      const topics = this.#topicsOf(registration);
      const isThere = topics.length > 0 || this.#wildcards.has(registration);
      if (isThere) this.#replay(registration, topics, 0, parked?.upTo);
    }
  }

  report(): readonly TopicReport[] {
    return Array.from(this.#topics.values(), (topic) => ({
      topic: topic.name,
      listeners: countOwners(topic.registrations),
      emitted: topic.emitted,
    }));
  }

  #dispatch(topic: Topic, event: AnyEvent): void {
    if (this.#tracer.enabled('event')) this.#tracer.caused(event.id, () => topic.deliver(event));
    else topic.deliver(event);
  }

  #drain(): void {
    for (let i = 0; i < this.#queue.length; i++) {
      if (i === MAX_CASCADE) {
        const topics = [...new Set(this.#queue.slice(-100).map(({ event }) => event.topic))].join(', ');
        const error = errors.CORE_ERR_EVENT_CASCADE({ details: { count: MAX_CASCADE, topics } });
        this.#log.error({ err: error }, error.message);
        break;
      }
      this.#queue[i]?.dispatch();
    }
    this.#queue.length = 0;
  }

  #topic(name: string): Topic | undefined {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    if (this.#topics.size >= MAX_TOPICS) {
      const error = errors.CORE_ERR_EVENT_TOPICS({ details: { topic: name, count: MAX_TOPICS } });
      this.#log.error({ err: error }, error.message);
      return undefined;
    }
    const topic = new Topic(name, this.#historyLimit, (r, event, error) => this.#listenerFailed(r, event, error));
    topic.registrations = [...this.#wildcards].filter((r) => matches(r.pattern, name));
    this.#topics.set(name, topic);
    this.#emitter.on(name, (source: string, data: EventMap[EventName]) => this.#publish(topic, source, data));
    return topic;
  }

  #on(scope: Scope, pattern: string, listener: AnyListener, options: ListenOptions): Disposable {
    options.signal?.throwIfAborted();
    const registration: Registration = { pattern, owner: scope.owner, listener, after: this.#tracer.nextId() };
    const onAbort = (): void => subscription[Symbol.dispose]();
    const subscription = scope.defer(`listener ${pattern}`, () => {
      registration.after = Number.POSITIVE_INFINITY;
      options.signal?.removeEventListener('abort', onAbort);
      this.#detach(registration);
    });
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const topics = this.#attach(registration);
    for (const topic of topics) this.#checkLeak(topic, registration);
    const parked = this.#parked.get(scope.owner);
    const isSuccessor = parked?.registrations.some((r) => r.pattern === pattern) ?? false;
    this.#replay(registration, topics, options.replay ?? 0, isSuccessor ? parked?.upTo : undefined);
    return subscription;
  }

  #attach(registration: Registration): readonly Topic[] {
    if (!registration.pattern.endsWith('*')) {
      const topic = this.#topic(registration.pattern);
      if (topic === undefined) return [];
      topic.registrations = [...topic.registrations, registration];
      return [topic];
    }
    this.#wildcards.add(registration);
    const topics = [...this.#topics.values()].filter((topic) => matches(registration.pattern, topic.name));
    for (const topic of topics) topic.registrations = [...topic.registrations, registration];
    return topics;
  }

  #detach(registration: Registration): void {
    const isWildcard = this.#wildcards.delete(registration);
    const topics = isWildcard ? this.#topics.values() : [this.#topics.get(registration.pattern)];
    for (const topic of topics) {
      if (topic?.registrations.includes(registration)) {
        topic.registrations = topic.registrations.filter((r) => r !== registration);
      }
    }
  }

  /** The topics that it is registered with. */
  #topicsOf(registration: Registration): readonly Topic[] {
    return [...this.#topics.values()].filter((topic) => topic.registrations.includes(registration));
  }

  /** Past events that were asked for, and those after `missedAfter`, which a reload would have made it miss. */
  #replay(
    registration: Registration,
    topics: readonly Topic[],
    asked: number | true,
    missedAfter: number = Number.POSITIVE_INFINITY,
  ): void {
    if (asked === 0 && missedAfter === Number.POSITIVE_INFINITY) return;
    const live = this.#tracer.nextId();
    const past: { readonly topic: Topic; readonly event: AnyEvent }[] = [];
    for (const topic of topics) {
      const events = topic.history.list();
      const wanted = asked === true ? events.length : asked;
      const kept = events.filter((e, i) => i >= events.length - wanted || e.id > missedAfter);
      for (const event of kept) past.push({ topic, event });
    }
    past.sort((a, b) => a.event.id - b.event.id);
    // What the listener emits meanwhile comes after what it is still to be told.
    const isOutermost = !this.#delivering;
    this.#delivering = true;
    try {
      registration.after = 0;
      for (const { topic, event } of past) {
        this.#tracer.caused(event.id, () => topic.deliverTo(registration, event));
      }
      registration.after = live;
      if (isOutermost) this.#drain();
    } finally {
      if (isOutermost) this.#delivering = false;
    }
  }

  #once<E extends EventName>(scope: Scope, topic: E, options: OnceOptions<E>): Promise<EventMap[E]> {
    const signal = options.signal === undefined ? scope.signal : AbortSignal.any([scope.signal, options.signal]);
    const { promise, resolve, reject } = Promise.withResolvers<EventMap[E]>();
    if (signal.aborted) return Promise.reject(signal.reason);
    const listener = (data: EventMap[E]): void => {
      if (options.where !== undefined && !options.where(data)) return;
      settle();
      resolve(data);
    };
    const subscription = this.#on(scope, topic, listener as AnyListener, {});
    const ms = options.timeoutMs;
    const timer =
      ms === undefined
        ? undefined
        : this.#clock.after(ms, () => {
            settle();
            reject(errors.CORE_ERR_EVENT_TIMEOUT({ plugin: scope.owner, details: { event: topic, ms } }));
          });
    const onAbort = (): void => {
      settle();
      reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const settle = (): void => {
      subscription[Symbol.dispose]();
      timer?.[Symbol.dispose]();
      signal.removeEventListener('abort', onAbort);
    };
    return promise;
  }

  #listenerFailed(registration: Registration, event: AnyEvent, error: unknown): void {
    const fields = { plugin: registration.owner, event: event.topic, id: event.id, err: error };
    this.#log.error(fields, `listener of ${registration.owner} for "${event.topic}" failed`);
    // A listener of this very topic that fails would start a loop.
    if (event.topic === 'core:listener-error') return;
    this.emit('core', 'core:listener-error', { event: event.topic, plugin: registration.owner, error });
  }

  #checkLeak(topic: Topic, latest: Registration): void {
    if (topic.registrations.length <= this.#listenerLimit || topic.leakReported) return;
    const { owner } = latest;
    const owners = countOwners(topic.registrations);
    const owned = owners[owner] ?? 0;
    // Whoever leaks registers again, and then the call site is its own.
    if (Object.values(owners).some((count) => count > owned)) return;
    topic.leakReported = true;
    const error = errors.CORE_ERR_EVENT_LEAK({
      plugin: owner,
      details: { event: topic.name, count: topic.registrations.length, owner, owned, stack: callSite() },
    });
    this.#log.warn({ err: error, plugin: owner, event: topic.name, owners }, `${error.message}. ${error.remedy}`);
  }
}

function toHistoryLimit(count: number): number {
  return Math.max(0, Math.min(Math.trunc(count) || 0, MAX_HISTORY));
}

function matches(pattern: string, topic: string): boolean {
  return topic.startsWith(pattern.slice(0, -1));
}

function countOwners(registrations: readonly Registration[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { owner } of registrations) counts[owner] = (counts[owner] ?? 0) + 1;
  return counts;
}

/** The first frame outside of this file. Frames name files by URL, or by path when they come from a source map. */
function callSite(): string {
  const frames = new Error('call site').stack?.split('\n').slice(1) ?? [];
  const isHere = (frame: string): boolean => frame.includes(import.meta.url) || frame.includes(import.meta.filename);
  return frames.find((frame) => !isHere(frame))?.trim() ?? 'unknown';
}
