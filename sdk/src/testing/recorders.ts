// Keeps the events and the hook calls of a runtime, for a test to look at.

import {
  type EventName,
  type EventPattern,
  type HookKind,
  type HookToken,
  type Matching,
  type Runtime,
  type RuntimeEvent,
  systemClock,
  type TapFunction,
  withDeadline,
} from '@runtime/core';

/** Kept per recording, the last ones. */
const MAX_KEPT = 100_000;

export interface EventRecording<E extends EventName> extends Disposable {
  /** Since the recording began, oldest first. */
  readonly events: readonly RuntimeEvent<E>[];
  /** Their topics. */
  readonly topics: readonly E[];
  /** Resolves as soon as this many were recorded. Rejects after `timeoutMs` of real time, default 5,000. */
  waitFor(count: number, timeoutMs?: number): Promise<readonly RuntimeEvent<E>[]>;
}

/**
 * ```ts
 * using greeted = recordEvents(runtime, 'hello:*');
 * await runtime.get(greeter).greet('Ada');
 * expect(greeted.topics).toEqual(['hello:greeted']);
 * ```
 */
export function recordEvents<P extends EventPattern>(
  runtime: Pick<Runtime, 'events'>,
  pattern: P,
): EventRecording<Matching<P>> {
  const events: RuntimeEvent<Matching<P>>[] = [];
  const waiting = new Set<() => void>();
  const subscription = runtime.events.on(pattern, (_, event) => {
    keep(events, event);
    for (const check of waiting) check();
  });
  return {
    events,
    get topics() {
      return events.map(({ topic }) => topic);
    },
    waitFor(count, timeoutMs = 5_000) {
      let check = (): void => {};
      const enough = new Promise<readonly RuntimeEvent<Matching<P>>[]>((resolve) => {
        check = () => {
          if (events.length >= count) resolve(events);
        };
        waiting.add(check);
        check();
      });
      const late = (): Error => new Error(`${events.length} of ${count} events "${pattern}" within ${timeoutMs} ms`);
      return withDeadline(systemClock, timeoutMs, enough, late).finally(() => waiting.delete(check));
    },
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  };
}

export interface HookRecording<A extends readonly unknown[]> extends Disposable {
  /** The arguments of each call since the recording began, oldest first. */
  readonly calls: readonly A[];
}

export interface RecordHookOptions {
  /** Where among the taps it listens; default: before all others. A later one sees what earlier taps of a waterfall made. */
  readonly stage?: number;
}

/** Never has an opinion, so that the call goes on as without it. */
export function recordHook<K extends HookKind, A extends readonly unknown[], R>(
  runtime: Pick<Runtime, 'hooks'>,
  hook: HookToken<K, A, R>,
  { stage = Number.MIN_SAFE_INTEGER }: RecordHookOptions = {},
): HookRecording<A> {
  const calls: A[] = [];
  const record = (...args: A): undefined => void keep(calls, args);
  const tap = runtime.hooks.tap(hook, record as TapFunction<K, A, R>, { stage });
  return { calls, [Symbol.dispose]: () => tap[Symbol.dispose]() };
}

function keep<T>(list: T[], item: T): void {
  list.push(item);
  if (list.length > MAX_KEPT) list.shift();
}
