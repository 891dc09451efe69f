// A plugin that does everything a plugin may do, and some things that it should not.

import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { defineErrors, definePlugin, defineState, isRuntimeError, type Lease, optional } from '@runtime/core';
import { z } from 'zod';
import { instant, type Lab, lab, memory, nobody, question, slots, tools, veto } from './contract.ts';

const failures = defineErrors({
  LAB_ERR_BROKEN: { message: 'the {what} is broken', remedy: 'Mend the {what}.', grpc: 14, exit: 9, retryable: true },
});

interface State {
  readonly count: number;
  readonly since: Date;
}

/** A class, whose instance does not cross: the schema runs where the plugin does. */
class Greeting {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

const config = z.strictObject({
  greeting: z
    .string()
    .default('hello')
    .transform((text) => new Greeting(text)),
  tapInstant: z.boolean().default(false),
  crashInSetup: z.boolean().default(false),
});

async function codeOf(attempt: () => unknown): Promise<string> {
  try {
    await attempt();
    return 'no error';
  } catch (error) {
    return isRuntimeError(error) ? error.code : String(error);
  }
}

export default definePlugin({
  name: 'lab',
  requires: { tools, nobody: optional(nobody) },
  provides: [lab],
  config,
  state: defineState<State>({
    schema: 2,
    validate: z.object({ count: z.number().max(1000), since: z.date() }),
    migrate: (old) => ({ count: (old as { n: number }).n, since: new Date(0) }),
  }),
  async setup(ctx) {
    if (ctx.config.crashInSetup) process.exit(3);
    let count = ctx.previous?.state.count ?? 0;
    const since = ctx.previous?.state.since ?? new Date(1e12);
    const heard: unknown[] = [];
    const leases = new Map<string, Lease>();
    const held = ctx.resources.lease(slots, { key: 'always' });
    let finish: (() => void) | undefined;

    ctx.events.on('lab:in', (data, { id, source }) => {
      if (data === 'throw') throw new Error('listener says no');
      if (data === 'reject') return Promise.reject(new Error('listener says no later'));
      if (data === 'finish') finish?.();
      heard.push([data, source, id > 0]);
      return undefined;
    });
    ctx.hooks.tap(question, (asked) => ({ ...asked, answers: [...asked.answers, ctx.config.greeting.text] }));
    ctx.hooks.tap(veto, async (what) => {
      if (what === 'throw') throw failures.LAB_ERR_BROKEN({ details: { what } });
      return what === 'bad' ? `${ctx.name} forbids it` : undefined;
    });
    if (ctx.config.tapInstant) ctx.hooks.tap(instant, (n) => n + 1);
    ctx.checks.add('bench is clean', () => ({ status: 'warn', found: 'dust', remedy: 'Sweep.' }));
    ctx.commands.add(
      {
        name: 'lab greet',
        summary: 'Greets',
        args: [{ name: 'who', summary: 'Whom' }],
        options: { loud: { type: 'boolean', summary: 'Loudly' } },
      },
      async ({ args, options, io, signal }) => {
        await io.progress('greeting', 0.5);
        await io.out(`${ctx.config.greeting.text} ${args[0]} ${options.loud} ${io.cwd} ${io.terminal.columns}`);
        await io.err('careful');
        await io.data({ big: 2n ** 70n });
        for await (const chunk of io.input) await io.write(chunk);
        for await (const { columns, rows } of io.resizes) await io.writeErr(Buffer.from(`${columns}x${rows}`));
        if (args[0] === 'forever' && !signal.aborted)
          await new Promise((resolve) => signal.addEventListener('abort', resolve));
        return signal.aborted ? 130 : 4;
      },
    );

    const implementation: Lab = {
      echo: async (value) => value,
      caller: async () => ctx.caller(),
      async fail() {
        const cause = new AggregateError([new Error('inner one'), new RangeError('inner two')], 'both');
        throw failures.LAB_ERR_BROKEN({ details: { what: 'beaker' }, cause, plugin: ctx.name });
      },
      throwNow() {
        throw new TypeError('thrown before any promise');
      },
      self: async () => ({ fn: () => 1 }),
      callTools: async (n) => [await ctx.services.tools.double(n), await ctx.services.tools.caller()],
      callToolsFail: () => codeOf(() => ctx.services.tools.fail()),
      hasNobody: async () => ctx.services.nobody !== undefined,
      emit: async (data) => ctx.events.emit('lab:out', data),
      heard: async () => heard,
      next: () => ctx.events.once('lab:in', { where: (data) => data === 'wanted' }),
      nextWithin: (ms) => codeOf(() => ctx.events.once('lab:in', { timeoutMs: ms })),
      history: async () => ctx.events.history('lab:in').map(({ data }) => data),
      ask: (text) => ctx.hooks.call(question, { text, answers: [] }),
      askVeto: (what) => ctx.hooks.call(veto, what),
      askInstant: async (n) => ctx.hooks.call(instant, n),
      tapInstant: () => codeOf(() => ctx.hooks.tap(instant, (n) => n)),
      async lease(key) {
        const lease = ctx.resources.lease(slots, { key });
        leases.set(key, lease);
        return lease.value;
      },
      async leaseTwo(a, b) {
        const both = ctx.resources.leaseAll([
          [slots, { key: a }],
          [memory, { key: b, size: 60n }],
        ]);
        return both.map(({ pool, key, owner, value, state }) => ({ pool, key, owner, value, state }));
      },
      async release(key) {
        const lease = leases.get(key) ?? held;
        lease[Symbol.dispose]();
        return lease.state;
      },
      async count() {
        count += 1;
        return count;
      },
      pid: async () => process.pid,
      config: async () => ctx.config.greeting instanceof Greeting && ctx.config.greeting.text,
      previous: async () => ctx.previous,
      async document(value) {
        await ctx.state.write('notes', value);
        return [await ctx.state.read('notes'), await ctx.state.list()];
      },
      async startChild() {
        const child = await ctx.processes.spawn({
          key: 'child',
          kind: 'test',
          argv: [process.execPath, '-e', 'console.log("child speaks"); setInterval(() => {}, 1000)'],
          ready: { line: /child speaks/ },
        });
        const { pid, state, log } = child;
        return { pid, state, log, kinds: ctx.processes.list().map(({ kind }) => kind) };
      },
      async stopChild() {
        const [child] = ctx.processes.list();
        const isKilled = child?.kill('SIGKILL');
        return [isKilled, await child?.exited];
      },
      spawnWithFds: () =>
        codeOf(() =>
          ctx.processes.spawn({ key: 'fds', kind: 'test', argv: ['/bin/true'], fds: [{ child: 3, parent: 0 }] }),
        ),
      keep: () => codeOf(() => ctx.keepers.keep('object', 'thing', () => ({}))),
      traced: async () =>
        ctx.trace.label({ vm: 'penguin' }, () =>
          ctx.trace.span('lease', 'outer', ctx.name, async () => {
            ctx.trace.point('lease', 'inner', ctx.name, { n: 1 });
            await ctx.services.tools.double(1n);
          }),
        ),
      async track() {
        void ctx.track(
          'long work',
          new Promise<void>((resolve) => {
            finish = resolve;
          }),
        );
      },
      async slow() {
        await delay(50);
        return 'done';
      },
      async log() {
        ctx.log.child({ bound: 1 }).warn({ err: new Error('logged'), fn: () => 1 }, 'from the lab');
        ctx.log.info('plain');
      },
      spin() {
        for (;;);
      },
      crash: () => process.exit(7),
      async leak() {
        const hoard: object[] = [];
        for (;;) {
          for (let i = 0; i < 10_000; i++) hoard.push({ i, text: `${i}`.repeat(10) });
          await new Promise(setImmediate);
        }
      },
      async leakBuffers() {
        const hoard: Buffer[] = [];
        for (;;) {
          hoard.push(Buffer.alloc(8 * 1024 * 1024, 1));
          await new Promise(setImmediate);
        }
      },
      async flood() {
        const flood = (): void => {
          for (let i = 0; i < 500; i++) ctx.events.emit('lab:out', 'flood');
          setImmediate(flood);
        };
        flood();
      },
      async garbage(text, times) {
        for (let rest = Buffer.from(text.repeat(times)); rest.length > 0; ) {
          try {
            rest = rest.subarray(writeSync(3, rest));
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
          }
        }
      },
      async exitSoon() {
        setImmediate(() => process.exit(5));
      },
    };
    ctx.provide(lab, implementation);
    return {
      snapshot: () => ({ count, since }),
      dispose: (reason) => ctx.events.emit('lab:out', `disposed: ${reason}`),
      ready: () => ctx.events.emit('lab:out', 'ready'),
    };
  },
});
