// An event bus to test with: plugins by name, a log that is kept, and time that stands still.

import { type EventBus, EventHub, type EventHubOptions } from '../events.ts';
import { Scope } from '../scope.ts';
import { Tracer } from '../tracing.ts';
import { type FakeClock, fakeClock } from './fake-clock.ts';
import { type LogLine, quietLog } from './quiet-log.ts';

declare module '../events.ts' {
  interface EventMap {
    'bus:a': number;
    'bus:b': number;
    'bus:c': number;
    'other:d': string;
  }
}

interface Plugin {
  readonly bus: EventBus;
  readonly scope: Scope;
}

/** `bus` and `scope` are those of a plugin called alpha; `plugin` makes others. */
export interface TestBus extends Plugin {
  readonly hub: EventHub;
  readonly log: { readonly lines: readonly LogLine[] };
  readonly clock: FakeClock;
  readonly tracer: Tracer;
  plugin(name: string): Plugin;
}

export function testBus(options: Partial<EventHubOptions> = {}): TestBus {
  const log = quietLog();
  const clock = fakeClock();
  const tracer = new Tracer('events');
  const hub = new EventHub({ tracer, clock, log, ...options });
  const plugin = (name: string): Plugin => {
    const scope = new Scope(name);
    return { scope, bus: hub.view(scope) };
  };
  return { hub, log, clock, tracer, plugin, ...plugin('alpha') };
}

/** A listener that keeps what it got. */
export function recorder<T>(): { readonly got: T[]; readonly listener: (data: T) => void } {
  const got: T[] = [];
  return { got, listener: (data) => void got.push(data) };
}
