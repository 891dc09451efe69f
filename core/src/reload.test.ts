import { describe, expect, test } from 'vitest';
import { type AnyPlugin, definePlugin, defineState } from './plugin.ts';
import { beforeSpawn } from './processes/types.ts';
import { createRuntime } from './runtime.ts';
import type { Runtime, RuntimeOptions } from './runtime-types.ts';
import { quietLog } from './test-programs/quiet-log.ts';
import { defineHook, definePool, defineService } from './tokens.ts';

interface Counter {
  add(): Promise<number>;
  generation(): Promise<string>;
}
const counter = defineService<Counter>('counter', { version: '1.0.0' });
const cids = definePool('cid', { kind: 'id', from: 3n, to: 100n });
const decide = defineHook<[what: string], string>()('test/decide', 'bail', ['what']);

declare module './events.ts' {
  interface EventMap {
    'test:tick': { readonly n: number };
  }
}

interface Variation {
  readonly schema?: number;
  readonly migrate?: (old: unknown, from: number) => { count: number };
  readonly setup?: () => void | Promise<void>;
  readonly ready?: () => void | Promise<void>;
  readonly onTick?: (n: number) => void;
}

/** A counter with state, a lease, a tap and a listener; `generation` tells the versions apart. */
function counterPlugin(generation: string, variation: Variation = {}): AnyPlugin {
  const plugin = definePlugin({
    name: 'counter',
    provides: [counter],
    state: defineState<{ count: number }>({
      schema: variation.schema ?? 1,
      ...(variation.migrate === undefined ? {} : { migrate: variation.migrate }),
    }),
    async setup(ctx) {
      let count = ctx.previous?.state.count ?? 0;
      const lease = ctx.resources.lease(cids, { key: 'vm:penguin' });
      ctx.hooks.tap(decide, () => `${generation} ${lease.value}`);
      ctx.events.on('test:tick', ({ n }) => variation.onTick?.(n));
      await variation.setup?.();
      ctx.provide(counter, {
        async add() {
          count += 1;
          return count;
        },
        generation: async () => generation,
      });
      return { ready: () => variation.ready?.(), snapshot: () => ({ count }) };
    },
  });
  return plugin as unknown as AnyPlugin;
}

async function started(plugins: readonly object[], options: RuntimeOptions = {}): Promise<Runtime> {
  const runtime = createRuntime({ log: quietLog(), ...options });
  for (const plugin of plugins) runtime.use(plugin as AnyPlugin);
  await runtime.start();
  return runtime;
}

describe('reload', () => {
  test('swaps the code and keeps state, lease and handles', async () => {
    await using runtime = await started([counterPlugin('one')]);
    const handle = runtime.get(counter);
    await handle.add();
    const before = runtime.inspect().leases;
    const report = await runtime.reload('counter', counterPlugin('two'));
    expect(report).toMatchObject({ outcome: 'swapped', restarted: [] });
    expect(await handle.generation()).toBe('two');
    expect(await handle.add()).toBe(2);
    expect(runtime.inspect().leases).toEqual(before);
    expect(await runtime.hooks.call(decide, 'x')).toBe('two 3');
    expect(runtime.inspect().plugins[0]).toMatchObject({ state: 'ready', reloads: 1 });
  });

  test('calls, taps and events during the swap are neither lost nor doubled', async () => {
    const ticks: number[] = [];
    const gate = Promise.withResolvers<void>();
    await using runtime = await started([counterPlugin('one', { onTick: (n) => void ticks.push(n) })]);
    const handle = runtime.get(counter);
    runtime.events.emit('test:tick', { n: 1 });
    const next = counterPlugin('two', { setup: () => gate.promise, onTick: (n) => void ticks.push(n * 10) });
    const reloading = runtime.reload('counter', next);
    await expect.poll(() => runtime.pluginState('counter')).toBe('setup');
    runtime.events.emit('test:tick', { n: 2 });
    const calls = [handle.generation(), handle.add(), handle.add()];
    const answer = runtime.hooks.call(decide, 'x');
    gate.resolve();
    await reloading;
    expect(await Promise.all(calls)).toEqual(['two', 1, 2]);
    expect(await answer).toBe('two 3');
    runtime.events.emit('test:tick', { n: 3 });
    expect(ticks).toEqual([1, 20, 30]);
  });

  test('an event between the old and the new listener reaches the new one', async () => {
    const seen: string[] = [];
    const listener = (name: string, duringClose?: () => void): AnyPlugin =>
      definePlugin({
        name: 'listener',
        setup(ctx) {
          if (duringClose !== undefined) ctx.scope.defer('emit while closing', duringClose);
          ctx.events.on('test:*', (_data, { topic }) => void seen.push(`${name} ${topic}`));
        },
      }) as unknown as AnyPlugin;
    // Cleanups run newest first, so the listener is gone when this one emits.
    const runtime: Runtime = await started([listener('old', () => runtime.events.emit('test:tick', { n: 1 }))]);
    await using _ = runtime;
    await runtime.reload('listener', listener('new'));
    expect(seen).toEqual(['new test:tick']);
  });

  /** Counts ticks; takes its time over the snapshot, or over taking it. */
  function tickCounter(slow: { readonly validateMs?: number; readonly refuse?: boolean } = {}): AnyPlugin {
    const state = defineState<{ ticks: number }>({
      schema: 1,
      validate: {
        '~standard': {
          version: 1,
          vendor: 'test',
          async validate(value) {
            await new Promise((resolve) => setTimeout(resolve, slow.validateMs ?? 0));
            if (slow.refuse === true) return { issues: [{ message: 'no' }] };
            return { value: value as { ticks: number } };
          },
        },
      },
    });
    return definePlugin({
      name: 'counter',
      provides: [counter],
      state,
      setup(ctx) {
        let ticks = ctx.previous?.state.ticks ?? 0;
        ctx.events.on('test:tick', () => {
          ticks += 1;
        });
        ctx.provide(counter, { add: async () => ticks, generation: async () => '' });
        return { snapshot: () => ({ ticks }) };
      },
    }) as unknown as AnyPlugin;
  }

  test.each([
    ['swapped', {}],
    ['kept-old', { refuse: true }],
  ] as const)('every event counts once, also between snapshot and swap (%s)', async (outcome, variation) => {
    await using runtime = await started([tickCounter()], { eventHistory: 1_000 });
    let sent = 0;
    const timer = setInterval(() => {
      sent += 1;
      runtime.events.emit('test:tick', { n: sent });
    }, 1);
    try {
      const report = await runtime.reload('counter', tickCounter({ validateMs: 30, ...variation }));
      expect(report.outcome).toBe(outcome);
    } finally {
      clearInterval(timer);
    }
    expect(sent).toBeGreaterThan(0);
    expect(await runtime.get(counter).add()).toBe(sent);
  });

  test('a setup that comes back after it was given up provides nothing', async () => {
    const late = Promise.withResolvers<void>();
    let refusal: unknown;
    const zombie = definePlugin({
      name: 'counter',
      provides: [counter],
      async setup(ctx) {
        await late.promise;
        try {
          ctx.provide(counter, { add: async () => 0, generation: async () => 'zombie' });
        } catch (error) {
          refusal = error;
        }
      },
    }) as unknown as AnyPlugin;
    await using runtime = await started([counterPlugin('one')], { timeouts: { setupMs: 30 } });
    expect((await runtime.reload('counter', zombie)).outcome).toBe('rolled-back');
    late.resolve();
    await expect.poll(() => refusal).toMatchObject({ code: 'CORE_ERR_SCOPE_CLOSED' });
    expect(await runtime.get(counter).generation()).toBe('one');
  });

  test.each([
    ['throws in setup', { setup: () => Promise.reject(new Error('broken')) }, 'rolled-back', 'CORE_ERR_PHASE_FAILED'],
    ['hangs in setup', { setup: () => new Promise<void>(() => {}) }, 'rolled-back', 'CORE_ERR_PHASE_TIMEOUT'],
    ['throws in ready', { ready: () => Promise.reject(new Error('no')) }, 'rolled-back', 'CORE_ERR_PHASE_FAILED'],
    ['takes another schema without migrate', { schema: 2 }, 'kept-old', 'CORE_ERR_RELOAD_STATE'],
    [
      'refuses to migrate',
      {
        schema: 2,
        migrate: () => {
          throw new Error('too old');
        },
      },
      'kept-old',
      'CORE_ERR_RELOAD_STATE',
    ],
  ] as const)('new code that %s leaves the old one serving', async (_what, variation, outcome, code) => {
    await using runtime = await started([counterPlugin('one')], { timeouts: { setupMs: 60 } });
    const handle = runtime.get(counter);
    await handle.add();
    const before = runtime.inspect();
    const report = await runtime.reload('counter', counterPlugin('two', variation));
    expect(report).toMatchObject({ outcome, error: { code } });
    expect(await handle.generation()).toBe('one');
    expect(await handle.add()).toBe(2);
    const after = runtime.inspect();
    expect(after.leases).toEqual(before.leases);
    expect(after.hooks).toEqual(before.hooks);
    expect(after.events.find(({ topic }) => topic === 'test:tick')?.listeners).toEqual({ counter: 1 });
  });

  test('state is migrated', async () => {
    await using runtime = await started([counterPlugin('one')]);
    await runtime.get(counter).add();
    const migrate = (old: unknown, from: number): { count: number } => {
      return { count: (old as { count: number }).count * 100 + from };
    };
    await runtime.reload('counter', counterPlugin('two', { schema: 2, migrate }));
    expect(await runtime.get(counter).add()).toBe(102);
  });

  test('a plugin under another name, or that no longer fits, is refused before the old is touched', async () => {
    const consumer = definePlugin({ name: 'consumer', requires: { counter }, setup: () => {} });
    await using runtime = await started([counterPlugin('one'), consumer]);
    const other = definePlugin({ name: 'other', setup: () => {} }) as unknown as AnyPlugin;
    expect(await runtime.reload('counter', other)).toMatchObject({
      outcome: 'kept-old',
      error: { code: 'CORE_ERR_RELOAD_NAME' },
    });
    const narrowed = definePlugin({ name: 'counter', setup: () => {} }) as unknown as AnyPlugin;
    const report = await runtime.reload('counter', narrowed);
    expect(report).toMatchObject({ outcome: 'kept-old', error: { code: 'CORE_ERR_GRAPH_MISSING' } });
    expect(await runtime.get(counter).generation()).toBe('one');
  });

  test('work in flight is waited for; when it does not end in time the old one goes on', async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const slow = definePlugin({
      name: 'slow',
      provides: [counter],
      setup: (ctx) => ctx.provide(counter, { add: async () => 1, generation: () => promise }),
    }) as unknown as AnyPlugin;
    await using runtime = await started([slow], { timeouts: { quiesceMs: 30 } });
    const call = runtime.get(counter).generation();
    const report = await runtime.reload('slow', slow);
    expect(report).toMatchObject({ outcome: 'kept-old', error: { code: 'CORE_ERR_PHASE_TIMEOUT' } });
    expect(String(report.error)).toContain('1 call(s)');
    expect(await runtime.get(counter).add()).toBe(1);
    resolve('done');
    expect(await call).toBe('done');
    expect(await runtime.reload('slow', slow)).toMatchObject({ outcome: 'swapped' });
  });

  test('consumers of a restart service are restarted with it, with their state, in the right order', async () => {
    const log: string[] = [];
    const session = defineService<{ open(): Promise<string> }>('session', { version: '1.0.0', rebind: 'restart' });
    const provider = (generation: string): AnyPlugin =>
      definePlugin({
        name: 'provider',
        provides: [session],
        setup(ctx) {
          log.push(`setup provider ${generation}`);
          ctx.provide(session, { open: async () => generation });
          return { dispose: () => void log.push(`dispose provider ${generation}`) };
        },
      }) as unknown as AnyPlugin;
    const consumer = definePlugin({
      name: 'consumer',
      requires: { session },
      state: defineState<{ opened: string[] }>({ schema: 1 }),
      async setup(ctx) {
        const opened = [...(ctx.previous?.state.opened ?? []), await ctx.services.session.open()];
        log.push(`setup consumer ${opened.join(' ')}`);
        return { snapshot: () => ({ opened }), dispose: () => void log.push('dispose consumer') };
      },
    });
    const bystander = definePlugin({ name: 'bystander', setup: () => void log.push('setup bystander') });
    await using runtime = await started([provider('one'), consumer, bystander]);
    log.length = 0;
    const report = await runtime.reload('provider', provider('two'));
    expect(report).toMatchObject({ outcome: 'swapped', restarted: ['consumer'] });
    expect(log).toEqual(['dispose consumer', 'dispose provider one', 'setup provider two', 'setup consumer one two']);
  });

  test('reloads are serial, and those asked for meanwhile are one', async () => {
    let running = 0;
    let most = 0;
    let setups = 0;
    const track = async (): Promise<void> => {
      running += 1;
      setups += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setTimeout(resolve, 10));
      running -= 1;
    };
    await using runtime = await started([counterPlugin('0')]);
    const reports = await Promise.all(
      ['1', '2', '3', '4'].map((generation) => runtime.reload('counter', counterPlugin(generation, { setup: track }))),
    );
    expect(most).toBe(1);
    expect(setups).toBe(1);
    expect(new Set(reports).size).toBe(1);
    expect(await runtime.get(counter).generation()).toBe('4');
  });

  test('a failed plugin comes back with mended code', async () => {
    const broken = counterPlugin('broken', { setup: () => Promise.reject(new Error('no')) });
    await using runtime = await started([broken], { onFailure: 'continue' });
    expect(runtime.pluginState('counter')).toBe('failed');
    expect(await runtime.reload('counter', counterPlugin('mended'))).toMatchObject({ outcome: 'swapped' });
    expect(await runtime.get(counter).generation()).toBe('mended');
  });

  test('while a plugin that guards process starts is reloaded, no process starts without it', async () => {
    const guard = (setup: () => Promise<void>): AnyPlugin =>
      definePlugin({
        name: 'guard',
        async setup(ctx) {
          await setup();
          ctx.hooks.tap(beforeSpawn, (plan) => ({ ...plan, env: { ...plan.env, GUARDED: 'yes' } }));
        },
      }) as unknown as AnyPlugin;
    const spawner = definePlugin({
      name: 'spawner',
      setup(ctx) {
        ctx.commands.add({ name: 'spawn', summary: 'Start a process' }, async () => {
          const argv = ['sh', '-c', 'echo guarded=$GUARDED; sleep 60'] as const;
          const child = await ctx.processes.spawn({ key: 'child', kind: 'test', argv, ready: { line: /^guarded=/ } });
          return child.log.includes('guarded=yes') ? 0 : 1;
        });
      },
    });
    await using runtime = await started([guard(async () => {}), spawner]);
    const swap = Promise.withResolvers<void>();
    const reloading = runtime.reload(
      'guard',
      guard(() => swap.promise),
    );
    await expect.poll(() => runtime.pluginState('guard')).toBe('setup');
    const code = runtime.commands.run('spawn', { args: [], options: {} } as never);
    swap.resolve();
    expect((await reloading).outcome).toBe('swapped');
    expect(await code).toBe(0);
  });
});
