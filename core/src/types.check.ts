// What the types promise: compiled, never run. A line under @ts-expect-error must not compile.

import {
  type AddressRange,
  type AnyPlugin,
  type CommandRegistry,
  createRuntime,
  defineErrors,
  defineHook,
  definePlugin,
  definePool,
  defineService,
  defineState,
  type EventBus,
  type HookBus,
  type HookToken,
  isRuntimeError,
  type Lease,
  needs,
  optional,
  type Plugin,
  type PluginContext,
  type PoolToken,
  type ResourceAllocator,
  type RuntimeError,
  type Schema,
  type ServiceToken,
} from '@runtime/core';
import type * as sdk from '@runtime/sdk';
import * as z from 'zod';

declare module '@runtime/core' {
  interface EventMap {
    'check:from-core': { readonly n: number };
  }
}
declare module '@runtime/sdk' {
  interface EventMap {
    'check:from-sdk': { readonly text: string };
  }
}

type Same<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false;
/** `is<A, B>()` compiles when both are the same type. */
function is<A, B>(..._proof: Same<A, B> extends true ? [] : [never]): void {}

interface Greeter {
  greet(name: string): Promise<string>;
}
interface Clock {
  now(): Promise<number>;
}
const greeter = defineService<Greeter>('check/greeter', { version: '1.0.0' });
const calendar = defineService<{ today(): Promise<string> }>('check/calendar', { version: '1.0.0' });
const clock = defineService<Clock>('check/clock', { version: '1.0.0' });

// ---- events ------------------------------------------------------------------------------------------------------------

export function events(bus: EventBus, sdkBus: sdk.EventBus): void {
  // Topics that were declared through either package are known to both.
  bus.emit('check:from-core', { n: 1 });
  bus.emit('check:from-sdk', { text: 'x' });
  sdkBus.emit('check:from-core', { n: 1 });
  sdkBus.emit('check:from-sdk', { text: 'x' });
  bus.emit('core:plugin-state', { plugin: 'a', from: 'ready', to: 'quiescing' });
  // @ts-expect-error no such topic
  bus.emit('check:unknown', {});
  // @ts-expect-error the payload of another topic
  bus.emit('check:from-core', { text: 'x' });
  // @ts-expect-error no payload
  bus.emit('check:from-core');
  // @ts-expect-error no such state
  bus.emit('core:plugin-state', { plugin: 'a', from: 'ready', to: 'asleep' });

  bus.on('check:from-core', (data, event) => {
    is<typeof data, { readonly n: number }>();
    is<typeof event.topic, 'check:from-core'>();
    is<typeof event.source, string>();
  });
  bus.on('check:*', (data) => {
    is<typeof data, { readonly n: number } | { readonly text: string }>();
  });
  bus.on('*', (_, event) => {
    if (event.topic === 'check:from-sdk') event.id.toFixed();
  });
  bus.on('check:from-core', async ({ n }) => void n.toFixed(), { replay: true, signal: new AbortController().signal });
  // @ts-expect-error no such topic
  bus.on('check:unknown', () => {});
  // @ts-expect-error not of this payload
  bus.on('check:from-core', ({ text }) => text);

  is<ReturnType<typeof bus.once<'check:from-core'>>, Promise<{ readonly n: number }>>();
  void bus.once('check:from-core', { where: ({ n }) => n > 1, timeoutMs: 5 });
  // @ts-expect-error one event of many topics has no one type
  void bus.once('check:*');
  is<typeof bus extends sdk.EventBus ? true : false, true>();
  const [first] = bus.history('check:from-sdk');
  is<typeof first, sdk.RuntimeEvent<'check:from-sdk'> | undefined>();
}

// ---- hooks -------------------------------------------------------------------------------------------------------------

interface Veto {
  readonly deny: string;
}
const bail = defineHook<[name: string, n: number], Veto>()('check/bail', 'bail', ['name', 'n']);
const waterfall = defineHook<[argv: readonly string[], n: number], string[]>()('check/fall', 'waterfall', [
  'argv',
  'n',
]);
const series = defineHook<[name: string]>()('check/series', 'series', ['name']);
const parallel = defineHook<[name: string]>()('check/parallel', 'parallel', ['name']);
const sync = defineHook<[name: string]>()('check/sync', 'sync', ['name']);
const syncBail = defineHook<[n: number], boolean>()('check/sync-bail', 'sync-bail', ['n']);
const optionalArgument = defineHook<[a: string, b?: number]>()('check/optional', 'series', ['a', 'b']);

export function hooks(bus: HookBus): void {
  is<typeof bail, HookToken<'bail', [name: string, n: number], Veto>>();

  const fromBail = bus.call(bail, 'x', 1);
  const fromFall = bus.call(waterfall, ['a'], 1);
  const fromSeries = bus.call(series, 'x');
  const fromParallel = bus.call(parallel, 'x');
  const fromSync = bus.call(sync, 'x');
  const fromSyncBail = bus.call(syncBail, 1);
  is<typeof fromBail, Promise<Veto | undefined>>();
  is<typeof fromFall, Promise<readonly string[]>>();
  is<typeof fromSeries, Promise<void>>();
  is<typeof fromParallel, Promise<void>>();
  is<typeof fromSync, void>();
  is<typeof fromSyncBail, boolean | undefined>();
  void bus.call(optionalArgument, 'x');
  void bus.call(optionalArgument, 'x', 1);
  // @ts-expect-error an argument is missing
  void bus.call(bail, 'x');
  // @ts-expect-error of another type
  void bus.call(bail, 'x', 'y');
  // @ts-expect-error one too many
  void bus.call(series, 'x', 1);

  bus.tap(bail, (name, n) => (name.length > n ? { deny: name } : undefined));
  bus.tap(bail, async () => undefined, { stage: -1, before: 'a', after: ['b', 'c'], timeoutMs: 5 });
  bus.tap(waterfall, async (argv, n) => [...argv, `${n}`]);
  bus.tap(series, async (name) => void name.trim());
  bus.tap(sync, (name) => void name.trim());
  bus.tap(syncBail, (n) => (n > 1 ? true : undefined));
  // @ts-expect-error null is no answer
  bus.tap(bail, () => null);
  // @ts-expect-error not the answer of this hook
  bus.tap(bail, () => ({ allow: true }));
  // @ts-expect-error a sync hook cannot wait
  bus.tap(syncBail, async () => true);
  // @ts-expect-error takes another argument
  bus.tap(series, (name: number) => void name);
  // @ts-expect-error no such option
  bus.tap(series, () => {}, { order: 1 });

  // @ts-expect-error a name for each argument
  defineHook<[a: string, b: number]>()('check/x', 'series', ['a']);
  // @ts-expect-error also for one that is optional
  defineHook<[a: string, b?: number]>()('check/x', 'series', ['a']);
  // @ts-expect-error no such kind
  defineHook<[a: string]>()('check/x', 'sequential', ['a']);
}

// ---- services ----------------------------------------------------------------------------------------------------------

export const consumer = definePlugin({
  name: 'check-consumer',
  requires: { greeter, ranged: needs(greeter, '^1.2.0'), clock: optional(clock), late: optional(clock, '>=2.0.0') },
  setup({ services, previous, config }) {
    is<
      typeof services,
      {
        readonly greeter: Greeter;
        readonly ranged: Greeter;
        readonly clock: Clock | undefined;
        readonly late: Clock | undefined;
      }
    >();
    is<typeof config, undefined>();
    is<NonNullable<typeof previous>['state'], undefined>();
    void services.greeter.greet('x');
    void services.clock?.now();
    // @ts-expect-error it may not be there
    void services.clock.now();
    // @ts-expect-error not required
    void services.other;
    // @ts-expect-error no such method
    void services.greeter.now();
    // @ts-expect-error a handle cannot be exchanged
    services.greeter = services.ranged;
  },
});

export const provider = definePlugin({
  name: 'check-provider',
  provides: [greeter, clock],
  setup(ctx) {
    ctx.provide(greeter, { greet: async (name) => name.toUpperCase() });
    ctx.provide(clock, { now: async () => 1 });
    // @ts-expect-error not what the token stands for
    ctx.provide(greeter, { now: async () => 1 });
    // @ts-expect-error a method answers with a promise
    ctx.provide(greeter, { greet: (name: string) => name });
    // @ts-expect-error not declared
    ctx.provide(calendar, { today: async () => '' });
    is<ReturnType<typeof ctx.caller>, string | undefined>();
    const tracked = ctx.track('work', Promise.resolve(7));
    is<typeof tracked, Promise<number>>();
  },
});

export const frugal = definePlugin({
  name: 'check-frugal',
  setup(ctx) {
    // @ts-expect-error it declares none
    ctx.provide(greeter, { greet: async () => '' });
    // @ts-expect-error it requires none
    void ctx.services.greeter;
  },
});

is<typeof greeter, ServiceToken<Greeter>>();
is<(typeof greeter)['T'], Greeter>();
// @ts-expect-error a contract has a version
defineService<Greeter>('check/x', {});
// @ts-expect-error a service is an object of methods
defineService<string>('check/x', { version: '1.0.0' });

// ---- plugins -----------------------------------------------------------------------------------------------------------

const config = z.object({ port: z.number(), host: z.string().default('localhost') });

const whole = definePlugin({
  name: 'check-whole',
  version: '1.0.0',
  core: '^1.0.0',
  requires: { greeter },
  provides: [clock],
  config,
  state: defineState<{ count: number }>({ schema: 2, migrate: (old, from) => ({ count: Number(old) + from }) }),
  timeouts: { setupMs: 5 },
  setup(ctx) {
    is<typeof ctx.config, { port: number; host: string }>();
    is<NonNullable<typeof ctx.previous>['state'], { count: number }>();
    // @ts-expect-error the previous state may be missing
    void ctx.previous.state;
    return {
      ready: () => {},
      quiesce: async (signal) => signal.throwIfAborted(),
      snapshot: () => ({ count: 1 }),
      dispose: (reason) => void is<typeof reason, 'stop' | 'reload' | 'failed'>(),
    };
  },
});
is<
  typeof whole,
  Plugin<
    { readonly greeter: ServiceToken<Greeter> },
    readonly [ServiceToken<Clock>],
    { port: number; host: string },
    { count: number }
  >
>();

definePlugin({
  name: 'check-state',
  state: defineState<{ count: number }>({ schema: 1 }),
  // @ts-expect-error the snapshot is not of the declared shape
  setup: () => ({ snapshot: () => ({ total: 1 }) }),
});
// @ts-expect-error migrate() gives the wrong shape
defineState<{ count: number }>({ schema: 1, migrate: () => ({ total: 1 }) });
// @ts-expect-error no setup
definePlugin({ name: 'check-x' });
// @ts-expect-error no name
definePlugin({ setup() {} });
// @ts-expect-error what it requires are tokens
definePlugin({ name: 'check-x', requires: { greeter: 'check/greeter' }, setup() {} });
// @ts-expect-error a hook is not provided
definePlugin({ name: 'check-x', provides: [series], setup() {} });
// @ts-expect-error no such phase
definePlugin({ name: 'check-x', timeouts: { startMs: 5 }, setup() {} });

/** Any plugin fits where the types do not matter, whatever it requires, provides or remembers. */
export const all: readonly AnyPlugin[] = [whole, definePlugin({ name: 'check-x', async setup() {} })];

/** Schemas of zod, and whatever else follows the standard, fit as they are. */
export const schema: Schema<{ port: number; host: string }> = config;

export async function runtime(): Promise<void> {
  const rt = createRuntime()
    .use(whole, { config: { port: 1 }, isolation: 'process' })
    .use(all[0] as AnyPlugin);
  const handle = rt.get(greeter);
  is<typeof handle, Greeter>();
  const report = await rt.reload('check-whole', whole);
  is<typeof report.outcome, 'swapped' | 'kept-old' | 'rolled-back' | 'failed'>();
  rt.events.on('core:reloaded', ({ plugin, ms }) => void [plugin.trim(), ms.toFixed()]);
  // @ts-expect-error not a plugin
  rt.use({ name: 'check-x', setup() {} });
  // @ts-expect-error no such level
  rt.use(whole, { isolation: 'thread' });
}

// ---- resources ---------------------------------------------------------------------------------------------------------

const ids = definePool('check/id', { kind: 'id', from: 1n, to: 9n });
const ranges = definePool('check/range', { kind: 'range', base: 0n, size: 64n, align: 4n });
const paths = definePool('check/path', { kind: 'path' });
const counts = definePool('check/count', { kind: 'count', total: 9n });

export function resources(allocator: ResourceAllocator): void {
  is<typeof ids, PoolToken<'id'>>();
  is<typeof ranges, PoolToken<'range'>>();
  const id = allocator.lease(ids, { key: 'x' });
  const range = allocator.lease(ranges, { key: 'x', size: 4n, align: 8n });
  const path = allocator.lease(paths, { key: 'x', at: '/x' });
  const count = allocator.lease(counts, { key: 'x', size: 4n });
  is<typeof id, Lease<bigint>>();
  is<typeof range.value, AddressRange>();
  is<typeof path.value, string>();
  is<typeof count.value, bigint>();
  is<typeof id.state, 'held' | 'parked' | 'released'>();

  const leases = allocator.leaseAll([
    [ids, { key: 'a' }],
    [paths, { key: 'b', at: '/b' }],
    [ranges, { key: 'c', size: 4n }],
  ]);
  is<(typeof leases)['length'], 3>();
  const [first, second, third] = leases;
  is<typeof first, Lease<bigint>>();
  is<typeof second, Lease<string>>();
  is<typeof third.value.size, bigint>();
  // @ts-expect-error there are three
  void leases[3];
  // @ts-expect-error a path is text
  void (second.value * 2n);

  // @ts-expect-error a lease has a key
  allocator.lease(ids, {});
  // @ts-expect-error numbers are bigint
  allocator.lease(ids, { key: 'x', at: 3 });
  // @ts-expect-error each request has its pool
  allocator.leaseAll([{ key: 'x' }]);
  // @ts-expect-error a value cannot be exchanged
  id.value = 4n;
  // @ts-expect-error ids have no size
  definePool('check/x', { kind: 'id', base: 0n, size: 5n });
  // @ts-expect-error no such kind
  definePool('check/x', { kind: 'bitmap' });
  // @ts-expect-error bounds are bigint
  definePool('check/x', { kind: 'count', total: 5 });
}

// ---- commands ----------------------------------------------------------------------------------------------------------

export function commands(registry: CommandRegistry): void {
  registry.add(
    {
      name: 'check run',
      summary: 'x',
      args: [{ name: 'vm', summary: 'x', required: true }],
      options: {
        verbose: { type: 'boolean', summary: 'x', short: 'v' },
        user: { type: 'string', summary: 'x' },
        shell: { type: 'string', summary: 'x', default: 'sh' },
        memory: { type: 'number', summary: 'x', required: true },
        cpus: { type: 'number', summary: 'x' },
        env: { type: 'string', summary: 'x', multiple: true },
        port: { type: 'number', summary: 'x', multiple: true, default: 1 },
      },
    },
    async ({ args, options, io, signal }) => {
      is<
        typeof options,
        {
          readonly verbose: boolean;
          readonly user: string | undefined;
          readonly shell: string;
          readonly memory: number;
          readonly cpus: number | undefined;
          readonly env: readonly string[];
          readonly port: readonly number[];
        }
      >();
      is<typeof args, readonly string[]>();
      // @ts-expect-error no such option
      void options.other;
      // @ts-expect-error it may not be given
      options.user.trim();
      signal.throwIfAborted();
      await io.out('x');
      return 3;
    },
  );
  registry.add({ name: 'check plain', summary: 'x' }, () => {});
  registry.add({ name: 'check plain', summary: 'x' }, ({ options }) => {
    is<typeof options, Readonly<Record<string, never>>>();
  });
  // @ts-expect-error an exit code is a number
  registry.add({ name: 'check x', summary: 'x' }, () => 'failed');
  // @ts-expect-error help needs a summary
  registry.add({ name: 'check x' }, () => {});
  // @ts-expect-error no such type
  registry.add({ name: 'check x', summary: 'x', options: { at: { type: 'date', summary: 'x' } } }, () => {});
}

// ---- errors ------------------------------------------------------------------------------------------------------------

const errors = defineErrors({ CHECK_ERR_VM_BUSY: { message: '{vm} is busy', remedy: 'Wait.', grpc: 14 } });

export function errorCodes(thrown: unknown): void {
  is<ReturnType<typeof errors.CHECK_ERR_VM_BUSY>, RuntimeError<'CHECK_ERR_VM_BUSY'>>();
  if (isRuntimeError(thrown)) is<typeof thrown, RuntimeError<string>>();
  if (isRuntimeError(thrown, 'CHECK_ERR_VM_BUSY')) is<typeof thrown.code, 'CHECK_ERR_VM_BUSY'>();
  // @ts-expect-error not in the table
  errors.CHECK_ERR_OTHER();
  // @ts-expect-error a code tells its package
  defineErrors({ VM_BUSY: { message: '', remedy: '' } });
  // @ts-expect-error every error says what to do
  defineErrors({ CHECK_ERR_X: { message: '' } });
  // @ts-expect-error no such status
  defineErrors({ CHECK_ERR_X: { message: '', remedy: '', grpc: 99 } });
}

// ---- the sdk is the same core ------------------------------------------------------------------------------------------

is<typeof sdk.definePlugin, typeof definePlugin>();
is<sdk.PluginContext<Record<never, never>, [], 1, 2>, PluginContext<Record<never, never>, [], 1, 2>>();
