// Spans that a plugin in its own process opens: the runtime holds them open, and what the process does inside of them
// comes back with their number.

import type { AnyContext } from '../context.ts';
import type { TraceKind } from '../tracing.ts';
import type { ContextTable } from './contexts.ts';
import { MAX_REGISTRATIONS } from './limits.ts';

export class TraceBridge {
  readonly #ctx: AnyContext;
  readonly #contexts: ContextTable;
  readonly #open: Map<number, PromiseWithResolvers<void> | undefined> = new Map();

  constructor(ctx: AnyContext, contexts: ContextTable) {
    this.#ctx = ctx;
    this.#contexts = contexts;
  }

  span(span: number, kind: TraceKind, name: string, plugin: string, detail: unknown): void {
    const held = Promise.withResolvers<void>();
    // How it ends concerns the trace alone.
    held.promise.catch(() => {});
    this.#hold(span, held, (adopt) => {
      this.#ctx.trace.span(
        kind,
        name,
        plugin,
        () => {
          adopt();
          return held.promise;
        },
        detail,
      );
    });
  }

  label(span: number, labels: Readonly<Record<string, string>>): void {
    this.#hold(span, undefined, (adopt) => this.#ctx.trace.label(labels, adopt));
  }

  caused(span: number, cause: number): void {
    this.#hold(span, undefined, (adopt) => this.#ctx.trace.caused(cause, adopt));
  }

  end(span: number, error: unknown): void {
    const held = this.#open.get(span);
    if (error === undefined) held?.resolve();
    else held?.reject(error);
    this.#open.delete(span);
    this.#contexts.close(span);
  }

  close(): void {
    for (const span of this.#open.keys()) this.end(span, undefined);
  }

  #hold(span: number, held: PromiseWithResolvers<void> | undefined, enter: (adopt: () => void) => void): void {
    if (this.#open.has(span) || this.#open.size >= MAX_REGISTRATIONS) return;
    this.#open.set(span, held);
    enter(() => this.#contexts.adopt(span));
  }
}
