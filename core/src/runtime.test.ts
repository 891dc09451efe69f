import { describe, expect, test } from 'vitest';
import type { Invocation } from './commands.ts';
import { isRuntimeError } from './errors.ts';
import { type AnyPlugin, definePlugin } from './plugin.ts';
import { needs, optional } from './requirements.ts';
import { createRuntime } from './runtime.ts';
import type { Runtime, RuntimeOptions } from './runtime-types.ts';
import { quietLog } from './test-programs/quiet-log.ts';
import { defineHook, defineService } from './tokens.ts';

interface Text {
  say(text: string): Promise<string>;
}
const upper = defineService<Text>('upper', { version: '1.2.0' });
const lower = defineService<Text>('lower', { version: '1.0.0' });
const echo = defineService<Text>('echo', { version: '1.0.0' });

const asPlugin = (plugin: object): AnyPlugin => plugin as AnyPlugin;

function runtimeOf(plugins: readonly object[], options: RuntimeOptions = {}): Runtime {
  const runtime = createRuntime({ log: quietLog(), ...options });
  for (const plugin of plugins) runtime.use(asPlugin(plugin));
  return runtime;
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.fail('it should have been rejected'),
    (error: unknown) => error,
  );
}

/** Every error of a tree of causes and aggregates. */
function flatten(error: unknown): unknown[] {
  if (error instanceof AggregateError) return [error, ...error.errors.flatMap(flatten)];
  return error instanceof Error && error.cause !== undefined ? [error, ...flatten(error.cause)] : [error];
}
const codes = (error: unknown): string[] =>
  flatten(error)
    .filter((e) => isRuntimeError(e))
    .map((e) => e.code);

describe('start and stop', () => {
  test('sets up providers first, readies after all setups, stops in reverse', async () => {
    const log: string[] = [];
    const steps = (name: string) => ({
      ready: () => void log.push(`ready ${name}`),
      dispose: () => void log.push(`dispose ${name}`),
    });
    const provider = definePlugin({
      name: 'z-provider',
      provides: [upper],
      setup(ctx) {
        log.push('setup z-provider');
        ctx.provide(upper, { say: async (text) => text.toUpperCase() });
        return steps('z-provider');
      },
    });
    const consumer = definePlugin({
      name: 'a-consumer',
      requires: { upper },
      async setup(ctx) {
        log.push(`setup a-consumer ${await ctx.services.upper.say('hi')}`);
        return steps('a-consumer');
      },
    });
    const runtime = runtimeOf([consumer, provider]);
    await runtime.start();
    expect(runtime.state).toBe('running');
    await runtime.stop();
    expect(log).toEqual([
      'setup z-provider',
      'setup a-consumer HI',
      'ready z-provider',
      'ready a-consumer',
      'dispose a-consumer',
      'dispose z-provider',
    ]);
    expect(runtime.state).toBe('stopped');
    expect(runtime.pending()).toEqual([]);
  });

  test('reports every problem of the graph and of the configuration at once, and runs nothing', async () => {
    let ran = false;
    const setup = (): void => {
      ran = true;
    };
    const schema = {
      '~standard': { version: 1, vendor: 'test', validate: () => ({ issues: [{ message: 'no' }] }) },
    } as const;
    const runtime = runtimeOf([
      definePlugin({ name: 'lonely', requires: { lower }, setup }),
      definePlugin({ name: 'old', core: '^99.0.0', setup }),
      definePlugin({ name: 'picky', config: schema, setup }),
      definePlugin({ name: 'ping', provides: [upper], requires: { echo }, setup }),
      definePlugin({ name: 'pong', provides: [echo], requires: { upper: needs(upper, '^2.0.0') }, setup }),
    ]);
    const error = await rejection(runtime.start());
    expect(codes(error).sort()).toEqual([
      'CORE_ERR_CONFIG',
      'CORE_ERR_GRAPH',
      'CORE_ERR_GRAPH_CORE',
      'CORE_ERR_GRAPH_CYCLE',
      'CORE_ERR_GRAPH_MISSING',
      'CORE_ERR_GRAPH_VERSION',
    ]);
    expect(ran).toBe(false);
    expect(runtime.state).toBe('failed');
  });

  test('a setup that fails ends the start, undoes the others and names the plugin', async () => {
    const undone: string[] = [];
    const runtime = runtimeOf([
      definePlugin({ name: 'fine', setup: (ctx) => void ctx.scope.defer('thing', () => void undone.push('fine')) }),
      definePlugin({
        name: 'broken',
        setup() {
          throw new Error('no such device');
        },
      }),
    ]);
    const error = await rejection(runtime.start());
    expect(error).toMatchObject({
      code: 'CORE_ERR_PHASE_FAILED',
      plugin: 'broken',
      cause: { message: 'no such device' },
    });
    expect(undone).toEqual(['fine']);
  });

  test('with onFailure continue the plugin and those that need it are left out, the others run', async () => {
    const runtime = runtimeOf(
      [
        definePlugin({
          name: 'broken',
          provides: [upper],
          setup() {
            throw new Error('no');
          },
        }),
        definePlugin({ name: 'dependent', requires: { upper }, setup: () => {} }),
        definePlugin({ name: 'relaxed', requires: { upper: optional(upper) }, setup: () => {} }),
      ],
      { onFailure: 'continue' },
    );
    await runtime.start();
    expect(runtime.pluginState('broken')).toBe('failed');
    expect(runtime.pluginState('dependent')).toBe('failed');
    expect(runtime.pluginState('relaxed')).toBe('ready');
    await expect(runtime.get(upper).say('x')).rejects.toMatchObject({ code: 'CORE_ERR_SERVICE_GONE' });
    await runtime.stop();
  });

  test('a deadline names the call that was waited for', async () => {
    const runtime = runtimeOf(
      [
        definePlugin({
          name: 'slow',
          provides: [upper],
          setup: (ctx) => ctx.provide(upper, { say: () => new Promise(() => {}) }),
        }),
        definePlugin({
          name: 'victim',
          requires: { upper },
          async setup(ctx) {
            await ctx.services.upper.say('hello?');
          },
        }),
      ],
      { timeouts: { setupMs: 50, quiesceMs: 20 } },
    );
    const error = await rejection(runtime.start());
    expect(error).toMatchObject({ code: 'CORE_ERR_PHASE_TIMEOUT', plugin: 'victim' });
    expect(String(error)).toContain('service call upper.say of slow');
  });

  test('a setup that comes back after its deadline holds nothing', async () => {
    let late: Promise<void> | undefined;
    const runtime = runtimeOf(
      [
        definePlugin({
          name: 'late',
          setup(ctx) {
            late = (async () => {
              await new Promise((resolve) => setTimeout(resolve, 60));
              ctx.events.on('core:plugin-state', () => {});
            })();
            return late.then(() => ({}));
          },
        }),
      ],
      { timeouts: { setupMs: 20 } },
    );
    await rejection(runtime.start());
    await expect(late).rejects.toMatchObject({ code: 'CORE_ERR_SCOPE_CLOSED' });
  });

  test('a declared service that setup does not provide is refused', async () => {
    const runtime = runtimeOf([definePlugin({ name: 'liar', provides: [upper], setup: () => {} })]);
    expect(await rejection(runtime.start())).toMatchObject({ code: 'CORE_ERR_SERVICE_NOT_PROVIDED', plugin: 'liar' });
  });

  test('an object is not quietly run in-process when it was to have a process of its own', async () => {
    const runtime = createRuntime({ log: quietLog() });
    runtime.use(definePlugin({ name: 'given', setup: () => {} }), { isolation: 'process' });
    expect(await rejection(runtime.start())).toMatchObject({ code: 'CORE_ERR_HOST_SOURCE', plugin: 'given' });
  });

  test('stop waits for a setup under way, and the start goes no further', async () => {
    const log: string[] = [];
    const finish = Promise.withResolvers<void>();
    const runtime = runtimeOf([
      definePlugin({
        name: 'slow',
        async setup(ctx) {
          ctx.scope.defer('x', () => void log.push('cleaned'));
          await finish.promise;
          log.push('set up');
          return { ready: () => void log.push('ready') };
        },
      }),
    ]);
    const started = rejection(runtime.start());
    await expect.poll(() => runtime.inspect().plugins[0]?.state).toBe('setup');
    const stopped = runtime.stop();
    finish.resolve();
    await stopped;
    expect(await started).toMatchObject({ code: 'CORE_ERR_CLOSING' });
    expect(log).toEqual(['set up', 'cleaned']);
  });

  test('what keeps the runtime from stopping is named', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const runtime = runtimeOf([
      definePlugin({
        name: 'busy',
        setup(ctx) {
          void ctx.track('writing the image', promise);
        },
      }),
    ]);
    await runtime.start();
    const stopped = runtime.stop();
    await expect.poll(() => runtime.pending().join()).toContain('busy (quiescing): writing the image');
    resolve();
    await stopped;
  });
});

describe('plugins of a running runtime', () => {
  const provider = definePlugin({
    name: 'provider',
    provides: [upper],
    setup: (ctx) => ctx.provide(upper, { say: async (text) => text.toUpperCase() }),
  });
  const consumer = definePlugin({ name: 'consumer', requires: { upper }, setup: () => {} });

  test('can be added, used and removed', async () => {
    await using runtime = runtimeOf([]);
    await runtime.start();
    await expect(runtime.add(asPlugin(consumer))).rejects.toMatchObject({ code: 'CORE_ERR_GRAPH_MISSING' });
    await runtime.add(asPlugin(provider));
    await runtime.add(asPlugin(consumer));
    expect(await runtime.get(upper).say('x')).toBe('X');
    await expect(runtime.remove('provider')).rejects.toMatchObject({ code: 'CORE_ERR_PLUGIN_REQUIRED' });
    await runtime.remove('consumer');
    const handle = runtime.get(upper);
    await runtime.remove('provider');
    await expect(handle.say('x')).rejects.toMatchObject({ code: 'CORE_ERR_SERVICE_GONE' });
    await runtime.add(asPlugin(provider));
    expect(await handle.say('again')).toBe('AGAIN');
  });

  test('one that the configuration names as the winner is not removed', async () => {
    const other = definePlugin({ ...provider, name: 'other' });
    await using runtime = runtimeOf([provider, other], { winners: { upper: 'provider' } });
    await runtime.start();
    await expect(runtime.remove('provider')).rejects.toMatchObject({ code: 'CORE_ERR_GRAPH_WINNER' });
    expect(await runtime.get(upper).say('x')).toBe('X');
    await runtime.remove('other');
    expect(await runtime.get(upper).say('y')).toBe('Y');
  });

  test('one that fails to be added leaves nothing behind', async () => {
    await using runtime = runtimeOf([]);
    await runtime.start();
    const broken = definePlugin({
      name: 'provider',
      provides: [upper],
      setup() {
        throw new Error('no');
      },
    });
    await expect(runtime.add(asPlugin(broken))).rejects.toMatchObject({ code: 'CORE_ERR_PHASE_FAILED' });
    await runtime.add(asPlugin(provider));
    expect(runtime.pluginState('provider')).toBe('ready');
  });

  test('several that are added at once do not undo each other when one fails', async () => {
    await using runtime = runtimeOf([]);
    await runtime.start();
    const broken = definePlugin({
      name: 'broken',
      async setup() {
        await new Promise((resolve) => setTimeout(resolve, 5));
        throw new Error('no');
      },
    });
    const results = await Promise.allSettled(
      [asPlugin(broken), asPlugin(provider), asPlugin(consumer)].map((p) => runtime.add(p)),
    );
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled']);
    expect(await runtime.get(upper).say('x')).toBe('X');
    expect(runtime.inspect().waves).toEqual([['provider'], ['consumer']]);
  });

  test('a mistyped name is answered with the nearest', async () => {
    await using runtime = runtimeOf([provider]);
    await runtime.start();
    expect(() => runtime.pluginState('provder')).toThrow(/did you mean "provider"/);
  });
});

describe('what a plugin sees', () => {
  test('its caller, its commands, its checks, its leases in inspect()', async () => {
    const callers: (string | undefined)[] = [];
    const hook = defineHook<[text: string], string>()('text/change', 'waterfall', ['text']);
    const provider = definePlugin({
      name: 'provider',
      provides: [upper],
      setup(ctx) {
        ctx.provide(upper, {
          async say(text) {
            callers.push(ctx.caller());
            return ctx.hooks.call(hook, text);
          },
        });
        ctx.hooks.tap(hook, (text) => `${text}!`);
        ctx.commands.add({ name: 'provider hello', summary: 'Say hello' }, () => 3);
        ctx.checks.add('weather', () => ({ status: 'warn', found: 'rain', remedy: 'Take an umbrella.' }));
      },
    });
    const consumer = definePlugin({
      name: 'consumer',
      requires: { upper },
      async setup(ctx) {
        expect(await ctx.services.upper.say('hi')).toBe('hi!');
      },
    });
    await using runtime = runtimeOf([provider, consumer]);
    await runtime.start();
    await runtime.get(upper).say('x');
    expect(callers).toEqual(['consumer', 'runtime']);
    expect(await runtime.commands.run('provider hello', { args: [], options: {} } as unknown as Invocation)).toBe(3);
    await expect(runtime.commands.run('provider helo', {} as Invocation)).rejects.toThrow(
      /did you mean "provider hello"/,
    );
    expect(await runtime.doctor()).toEqual([
      { name: 'weather', plugin: 'provider', status: 'warn', found: 'rain', remedy: 'Take an umbrella.' },
    ]);
    const report = runtime.inspect();
    expect(report.waves).toEqual([['provider'], ['consumer']]);
    expect(report.services).toMatchObject([
      { service: 'upper', provider: 'provider', consumers: ['consumer', 'runtime'] },
    ]);
    expect(report.hooks).toMatchObject([{ hook: 'text/change', taps: [{ plugin: 'provider', stage: 0 }] }]);
  });
});
