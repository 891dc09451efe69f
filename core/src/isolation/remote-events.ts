// The event bus as a plugin in its own process has it.

import { type Clock, systemClock } from '../clock.ts';
import { errors } from '../core-errors.ts';
import type {
  EventBus,
  EventListener,
  EventMap,
  EventName,
  ListenOptions,
  OnceOptions,
  RuntimeEvent,
} from '../events.ts';
import type { Scope } from '../scope.ts';
import { KeyCounter } from './key-counter.ts';
import type { RemoteLink } from './remote-link.ts';

type AnyListener = (data: unknown, event: RuntimeEvent) => unknown;

export class RemoteEvents {
  readonly #link: RemoteLink;
  readonly #scope: Scope;
  readonly #clock: Clock = systemClock;
  readonly #keys: KeyCounter = new KeyCounter();
  readonly #listeners: Map<string, AnyListener> = new Map();

  constructor(link: RemoteLink, scope: Scope) {
    this.#link = link;
    this.#scope = scope;
  }

  readonly bus: EventBus = {
    on: (pattern, listener, options) => this.#on(pattern, listener as AnyListener, options ?? {}),
    once: (topic, options) => this.#once(topic, options ?? {}),
    emit: (topic, data) => this.#link.tell('emit', topic, data),
    history: <E extends EventName>(topic: E) => this.#link.callSync('history', topic) as readonly RuntimeEvent<E>[],
    retain: (topic, count) => this.#link.tell('retain', topic, count),
  };

  /** An event from the runtime; `key` has a prefix of the runtime's. */
  deliver(key: string, event: RuntimeEvent): void {
    const listener = this.#listeners.get(key.slice('event '.length));
    if (listener === undefined) return;
    const failed = (error: unknown): void => this.#report(event, error);
    try {
      const result = listener(event.data, event);
      if (result instanceof Promise) result.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  #report(event: RuntimeEvent, error: unknown): void {
    const sendable = error instanceof Error ? error : new Error(String(error));
    this.#link.tell('listener-failed', event.topic, event.id, sendable);
  }

  #on(pattern: string, listener: AnyListener, options: ListenOptions): Disposable {
    options.signal?.throwIfAborted();
    const key = this.#keys.next(pattern);
    const subscription = this.#scope.defer(`listener ${pattern}`, () => {
      options.signal?.removeEventListener('abort', onAbort);
      this.#listeners.delete(key);
      this.#link.tell('off', key);
    });
    const onAbort = (): void => subscription[Symbol.dispose]();
    options.signal?.addEventListener('abort', onAbort, { once: true });
    this.#listeners.set(key, listener);
    this.#link.tell('on', key, pattern, options.replay ?? 0);
    return subscription;
  }

  #once<E extends EventName>(topic: E, options: OnceOptions<E>): Promise<EventMap[E]> {
    const { signal: own } = this.#scope;
    const signal = options.signal === undefined ? own : AbortSignal.any([own, options.signal]);
    if (signal.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<EventMap[E]>();
    const listener: EventListener<E> = (data) => {
      if (options.where === undefined || options.where(data)) resolve(data);
    };
    const subscription = this.#on(topic, listener as AnyListener, {});
    const ms = options.timeoutMs;
    const late = (): void => reject(errors.CORE_ERR_EVENT_TIMEOUT({ details: { event: topic, ms } }));
    const timer = ms === undefined ? undefined : this.#clock.after(ms, late);
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    const settle = (): void => {
      subscription[Symbol.dispose]();
      timer?.[Symbol.dispose]();
      signal.removeEventListener('abort', onAbort);
    };
    promise.then(settle, settle);
    return promise;
  }
}
