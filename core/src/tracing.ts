// Every event, hook call, service call, lease, process and plugin transition crosses a diagnostics channel
// (`runtime:<kind>`). Without a subscriber this costs one property read.

import { AsyncLocalStorage } from 'node:async_hooks';
import { type Channel, channel } from 'node:diagnostics_channel';
import { type ErrorRecord, toErrorRecord } from './errors.ts';

export const TRACE_KINDS = ['event', 'hook', 'service', 'lease', 'process', 'plugin', 'command'] as const;
export type TraceKind = (typeof TRACE_KINDS)[number];

/** `point`: happened at once. `start` and `end`/`error` enclose a span and share its id. */
export type TracePhase = 'point' | 'start' | 'end' | 'error';

export interface TraceRecord {
  /** The runtime instance, since channels are global to the process. */
  readonly runtime: string;
  /** Unique within the runtime; for an event it is the event's id. */
  readonly id: number;
  /** Id of what led to this; 0 when nothing traced did. */
  readonly cause: number;
  readonly kind: TraceKind;
  readonly phase: TracePhase;
  /** Topic, hook id, `service.method`, `pool/key`, … */
  readonly name: string;
  /** The plugin that acts. */
  readonly plugin: string;
  /** Milliseconds since the epoch, with fractions. */
  readonly at: number;
  /** Length of the span in milliseconds; on `end` and `error`. */
  readonly ms?: number;
  /** Set by {@link Tracer.label}; `vm` is what `runtime trace --vm` filters by. */
  readonly labels?: Readonly<Record<string, string>>;
  readonly detail?: unknown;
  readonly error?: ErrorRecord;
}

interface TraceContext {
  readonly runtime: string;
  readonly id: number;
  readonly labels: Readonly<Record<string, string>> | undefined;
}

export const traceChannels: Readonly<Record<TraceKind, Channel>> = Object.fromEntries(
  TRACE_KINDS.map((kind) => [kind, channel(`runtime:${kind}`)]),
) as Record<TraceKind, Channel>;

/** One store for the process; a tracer looks only at contexts of its own runtime, since ids mean nothing in another. */
const contexts = new AsyncLocalStorage<TraceContext>();

export class Tracer {
  readonly runtime: string;
  #lastId = 0;

  constructor(runtime: string) {
    this.runtime = runtime;
  }

  nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  /** Id of the enclosing span or event; 0 outside of any. */
  get cause(): number {
    return this.#context?.id ?? 0;
  }

  get #context(): TraceContext | undefined {
    const context = contexts.getStore();
    return context?.runtime === this.runtime ? context : undefined;
  }

  enabled(kind: TraceKind): boolean {
    return traceChannels[kind].hasSubscribers;
  }

  /** Publishes something that happened at once. Returns its id. */
  point(kind: TraceKind, name: string, plugin: string, detail?: unknown, id: number = this.nextId()): number {
    if (traceChannels[kind].hasSubscribers) this.#publish(kind, 'point', id, name, plugin, { detail });
    return id;
  }

  /** Runs `fn` as a span: what happens inside, also after an await, has it as cause. */
  span<T>(kind: TraceKind, name: string, plugin: string, fn: () => T, detail?: unknown): T {
    if (!traceChannels[kind].hasSubscribers) return fn();
    const id = this.nextId();
    const startedAt = performance.now();
    this.#publish(kind, 'start', id, name, plugin, { detail });
    const end = (): void => this.#publish(kind, 'end', id, name, plugin, { ms: performance.now() - startedAt });
    const fail = (e: unknown): void =>
      this.#publish(kind, 'error', id, name, plugin, { ms: performance.now() - startedAt, error: toErrorRecord(e) });
    let result: T;
    try {
      result = this.caused(id, fn);
    } catch (e) {
      fail(e);
      throw e;
    }
    if (result instanceof Promise) result.then(end, fail);
    else end();
    return result;
  }

  /** Runs `fn` with the record `id` as the cause of what it does. */
  caused<T>(id: number, fn: () => T): T {
    return contexts.run({ runtime: this.runtime, id, labels: this.#context?.labels }, fn);
  }

  /** Runs `fn` with labels on every record made inside, also after an await. */
  label<T>(labels: Readonly<Record<string, string>>, fn: () => T): T {
    const current = this.#context;
    const all = { ...current?.labels, ...labels };
    return contexts.run({ runtime: this.runtime, id: current?.id ?? 0, labels: all }, fn);
  }

  /** Receives every record of this runtime. */
  subscribe(listener: (record: TraceRecord) => void): Disposable {
    const onMessage = (message: unknown): void => {
      const record = message as TraceRecord;
      if (record.runtime === this.runtime) listener(record);
    };
    for (const kind of TRACE_KINDS) traceChannels[kind].subscribe(onMessage);
    return {
      [Symbol.dispose]: () => {
        for (const kind of TRACE_KINDS) traceChannels[kind].unsubscribe(onMessage);
      },
    };
  }

  #publish(
    kind: TraceKind,
    phase: TracePhase,
    id: number,
    name: string,
    plugin: string,
    extra: { readonly ms?: number; readonly detail?: unknown; readonly error?: ErrorRecord },
  ): void {
    const context = this.#context;
    const labels = context?.labels === undefined ? {} : { labels: context.labels };
    const record: TraceRecord = {
      runtime: this.runtime,
      id,
      cause: context?.id ?? 0,
      kind,
      phase,
      name,
      plugin,
      at: performance.timeOrigin + performance.now(),
      ...labels,
      ...extra,
    };
    traceChannels[kind].publish(record);
  }
}
