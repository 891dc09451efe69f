// A hook table to test with: plugins by name, and time that stands still.

import { Gate } from '../gate.ts';
import { type HookBus, HookTable } from '../hooks.ts';
import { Scope } from '../scope.ts';
import { Tracer } from '../tracing.ts';
import { type FakeClock, fakeClock, flush } from './fake-clock.ts';

export interface HookedPlugin {
  readonly name: string;
  readonly hooks: HookBus;
  readonly scope: Scope;
  readonly gate: Gate;
}

export interface TestHooks {
  readonly table: HookTable;
  readonly clock: FakeClock;
  readonly tracer: Tracer;
  /** A plugin with an open gate. */
  plugin(name: string): HookedPlugin;
  /** What a reload does first: closes the gate, parks the taps, closes the scope. */
  takeDown(plugin: HookedPlugin): Promise<void>;
  /** A new instance of the plugin behind the same gate. */
  setUpAgain(plugin: HookedPlugin): HookedPlugin;
  /** What a reload does last. */
  letIn(plugin: HookedPlugin): void;
  /** A whole reload. */
  reload(plugin: HookedPlugin, tap: (hooks: HookBus) => void): Promise<HookedPlugin>;
}

/** Milliseconds. */
export const TAP_MS = 100;
export const SWAP_MS = 1_000;

export function testHooks(): TestHooks {
  const clock = fakeClock();
  const tracer = new Tracer('hooks');
  const table = new HookTable({ tracer, clock, tapMs: TAP_MS, swapMs: SWAP_MS });
  const instance = (name: string, gate: Gate): HookedPlugin => {
    const scope = new Scope(name);
    return { name, scope, gate, hooks: table.view(scope, gate) };
  };
  const kit: TestHooks = {
    table,
    clock,
    tracer,
    plugin(name) {
      const gate = new Gate(name, clock);
      gate.openUp();
      return instance(name, gate);
    },
    async takeDown({ name, scope, gate }) {
      gate.close();
      table.park(name);
      await scope.close();
    },
    setUpAgain: ({ name, gate }) => instance(name, gate),
    letIn({ name, gate }) {
      gate.openUp();
      table.unpark(name);
    },
    async reload(plugin, tap) {
      await kit.takeDown(plugin);
      const next = kit.setUpAgain(plugin);
      tap(next.hooks);
      kit.letIn(next);
      await flush();
      return next;
    },
  };
  return kit;
}
