// The tracer of a plugin in its own process. Its spans are held open by the runtime; here they have numbers below zero.

import { type TraceKind, Tracer } from '../tracing.ts';
import { encodeValue } from '../wire/value.ts';
import type { RemoteLink } from './remote-link.ts';

export class RemoteTracer extends Tracer {
  /** Told by the runtime every now and then. */
  active = false;
  readonly #link: RemoteLink;
  #lastSpan = 0;

  constructor(runtime: string, link: RemoteLink) {
    super(runtime);
    this.#link = link;
  }

  override enabled(_kind: TraceKind): boolean {
    return this.active;
  }

  /** The number is only known to the runtime: 0. */
  override point(kind: TraceKind, name: string, plugin: string, detail?: unknown): number {
    if (this.active) this.#link.tell('trace.point', kind, name, plugin, sendable(detail));
    return 0;
  }

  override span<T>(kind: TraceKind, name: string, plugin: string, fn: () => T, detail?: unknown): T {
    if (!this.active) return fn();
    return this.#within((span) => this.#link.tell('trace.span', span, kind, name, plugin, sendable(detail)), fn);
  }

  override caused<T>(id: number, fn: () => T): T {
    return this.#within((span) => this.#link.tell('trace.caused', span, id), fn);
  }

  override label<T>(labels: Readonly<Record<string, string>>, fn: () => T): T {
    return this.#within((span) => this.#link.tell('trace.label', span, labels), fn);
  }

  #within<T>(begin: (span: number) => void, fn: () => T): T {
    this.#lastSpan -= 1;
    const span = this.#lastSpan;
    begin(span);
    const end = (error?: unknown): void => this.#link.tell('trace.end', span, error);
    const fail = (error: unknown): void => end(error instanceof Error ? error : new Error(String(error)));
    let result: T;
    try {
      result = this.#link.within(span, fn);
    } catch (error) {
      fail(error);
      throw error;
    }
    if (result instanceof Promise) result.then(() => end(), fail);
    else end();
    return result;
  }
}

function sendable(detail: unknown): unknown {
  try {
    encodeValue(detail);
    return detail;
  } catch {
    return undefined;
  }
}
