import assert from 'node:assert/strict';
import { defineHook, definePlugin, definePool, defineService, isRuntimeError } from '@runtime/core';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  createTestRuntime,
  defineContract,
  FakeClock,
  provide,
  recordEvents,
  recordHook,
  runContract,
} from './index.ts';

declare module '@runtime/core' {
  interface EventMap {
    'testing:greeted': { readonly name: string };
  }
}

interface Greeter {
  greet(name: string): Promise<string>;
}
interface Weather {
  isSunny(): Promise<boolean>;
}
const greeter = defineService<Greeter>('greeter', { version: '1.0.0' });
const weather = defineService<Weather>('acme.weather', { version: '2.1.0' });
const beforeGreet = defineHook<[name: string], string>()('greeter/before-greet', 'waterfall', ['name']);

const hello = definePlugin({
  name: 'hello',
  requires: { weather },
  provides: [greeter],
  config: z.object({ greeting: z.string() }),
  setup(ctx) {
    ctx.provide(greeter, {
      async greet(asked) {
        const name = await ctx.hooks.call(beforeGreet, asked);
        ctx.events.emit('testing:greeted', { name });
        ctx.log.child({ to: name }).info({ from: ctx.name }, 'greeted');
        const end = (await ctx.services.weather.isSunny()) ? '!' : '.';
        return `${ctx.config.greeting}, ${name}${end}`;
      },
    });
    ctx.commands.add(
      {
        name: 'hello greet',
        summary: 'Greets',
        args: [{ name: 'name', summary: 'who' }],
        options: {
          loud: { type: 'boolean', summary: 'in capitals' },
          times: { type: 'number', summary: 'how often', default: 1 },
        },
      },
      async ({ args, options, io }) => {
        const chunks: string[] = [];
        for await (const chunk of io.input) chunks.push(Buffer.from(chunk).toString());
        const text = `${args.join(' ')}${chunks.join('')}`;
        await io.data({ greeting: options.loud ? text.toUpperCase() : text });
        for (let i = 0; i < options.times; i++) await io.out(text);
        return 3;
      },
    );
  },
});
const config = { hello: { greeting: 'Hi' } };
const sunny = provide(weather, { isSunny: async () => true });

test('a plugin runs with fakes of what it requires, and the test sees its events, hook calls and log', async () => {
  await using runtime = await createTestRuntime({ plugins: [hello, sunny], config });
  using greeted = recordEvents(runtime, 'testing:*');
  using asked = recordHook(runtime, beforeGreet);
  runtime.hooks.tap(beforeGreet, (name) => name.toUpperCase());
  using answered = recordHook(runtime, beforeGreet, { stage: 100 });
  expect(await runtime.get(greeter).greet('Ada')).toBe('Hi, ADA!');
  expect(greeted.events.map(({ data, source }) => [data.name, source])).toEqual([['ADA', 'hello']]);
  expect(asked.calls).toEqual([['Ada']]);
  expect(answered.calls).toEqual([['ADA']]);
  expect(runtime.log.records.at(-1)).toEqual({
    level: 'info',
    message: 'greeted',
    fields: { plugin: 'hello', to: 'ADA', from: 'hello' },
  });
  const [event] = await Promise.all([greeted.waitFor(2), runtime.get(greeter).greet('Bob')]);
  expect(event).toHaveLength(2);
  await expect(greeted.waitFor(3, 10)).rejects.toThrow('2 of 3 events "testing:*" within 10 ms');
});

test('a command is run with its defaults, and what it writes comes back', async () => {
  await using runtime = await createTestRuntime({ plugins: [hello, sunny], config });
  const result = await runtime.run('hello greet', { args: ['a'], options: { loud: true }, input: 'b' });
  expect(result).toMatchObject({ code: 3, out: ['ab'], data: [{ greeting: 'AB' }], err: [] });
  const twice = await runtime.run('hello greet', { options: { times: 2 } });
  expect(twice.out).toEqual(['', '']);
});

test('deadlines follow the fake clock', async () => {
  const clock = new FakeClock();
  await using runtime = await createTestRuntime({ clock });
  const late = runtime.events.once('testing:greeted', { timeoutMs: 60_000 });
  const failed = expect(late).rejects.toMatchObject({ code: 'CORE_ERR_EVENT_TIMEOUT' });
  await clock.advanceAsync(60_000);
  await failed;
});

describe('what the test did not see ends it', () => {
  const listens = definePlugin({
    name: 'listens',
    setup(ctx) {
      ctx.events.on('testing:greeted', () => {
        throw new Error('cannot hear');
      });
    },
  });
  const messy = definePlugin({
    name: 'messy',
    setup(ctx) {
      ctx.scope.defer('the socket', () => {
        throw new Error('no such socket');
      });
    },
  });
  const numbers = definePool('testing-numbers', { kind: 'id', from: 1n, to: 5n });
  const clings = definePlugin({
    name: 'clings',
    timeouts: { disposeMs: 10 },
    setup(ctx) {
      ctx.resources.lease(numbers, { key: 'one' });
      // Runs first, and keeps the others from their turn.
      ctx.scope.defer('the stubborn', () => new Promise(() => {}));
    },
  });

  test.each([
    ['a listener that throws', listens, /the listener of listens to "testing:greeted" failed: cannot hear/],
    ['a cleanup that throws', messy, /messy.*the socket.*no such socket/],
    ['a lease that is still held', clings, /clings still holds lease testing-numbers\/one/],
  ] as const)('%s', async (_, plugin, expected) => {
    const runtime = await createTestRuntime({ plugins: [plugin] });
    runtime.events.emit('testing:greeted', { name: 'Ada' });
    const error: unknown = await runtime[Symbol.asyncDispose]().then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(isRuntimeError(error, 'SDK_ERR_TEST_PROBLEMS')).toBe(true);
    expect((error as Error).message).toMatch(expected);

    await using _tolerant = await createTestRuntime({
      plugins: [plugin],
      allow: ['listener-errors', 'stop-errors', 'leaks'],
    });
    _tolerant.events.emit('testing:greeted', { name: 'Ada' });
  });
});

describe('contracts', () => {
  const contract = defineContract(greeter, {
    'greets by name': async (service) => assert.match(await service.greet('Ada'), /Ada/),
    'greets nobody too': async (service) => assert.notEqual(await service.greet(''), ''),
  });

  async function outcomes(make: () => Greeter): Promise<Record<string, string>> {
    const out: Record<string, string> = {};
    const tests: (() => Promise<void>)[] = [];
    runContract(contract, make, {
      test: (name, run) =>
        tests.push(async () => {
          out[name] = await run().then(
            () => 'ok',
            (e: unknown) => (e as Error).message,
          );
        }),
    });
    for (const run of tests) await run();
    return out;
  }

  test('each case meets an implementation of its own, and its cleanup runs', async () => {
    const log: string[] = [];
    const results: Promise<void>[] = [];
    runContract(
      contract,
      (scope) => {
        log.push('made');
        scope.defer('x', () => void log.push('gone'));
        return { greet: async (name) => `Hi ${name}` };
      },
      { test: (_, run) => results.push(run()) },
    );
    await Promise.all(results);
    expect(log.filter((entry) => entry === 'made')).toHaveLength(2);
    expect(log.filter((entry) => entry === 'gone')).toHaveLength(2);
  });

  test('an implementation that breaks it fails, also by what another process could not see', async () => {
    expect(await outcomes(() => ({ greet: async (name) => name }))).toEqual({
      'greeter 1.0.0: greets by name': 'ok',
      'greeter 1.0.0: greets nobody too': expect.stringContaining('strictly unequal'),
    });
    const sync = { greet: (name: string) => `Hi ${name}` } as unknown as Greeter;
    expect(Object.values(await outcomes(() => sync))[0]).toBe('greet() did not return a promise');
    const shares = { greet: async () => () => 'Ada' } as unknown as Greeter;
    expect(Object.values(await outcomes(() => shares))[0]).toBe('what greet() answered cannot cross a process border');
  });
});
