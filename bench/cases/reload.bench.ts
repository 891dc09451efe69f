// Hot reload of one plugin that has state, a lease, a tap and a consumer.

import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type AnyPlugin,
  createLogger,
  createRuntime,
  defineHook,
  definePlugin,
  definePool,
  defineService,
  defineState,
  findPlugin,
  needs,
  type Runtime,
} from '@runtime/core';
import { createDevLoader } from '../../sdk/src/dev/index.ts';
import { type Benchmark, type Side, Timed } from '../benchmark.ts';
import { makeFolder, writePlugin } from '../fixtures.ts';

interface Counter {
  next(): Promise<number>;
}
const counter = defineService<Counter>('counter', { version: '1.0.0' });
const numbers = definePool('bench-numbers', { kind: 'id', from: 1n, to: 100n });
const tick = defineHook<[n: number]>()('bench/tick', 'series', ['n']);

/** @param step so that each generation is another plugin */
function generation(step: number): AnyPlugin {
  return definePlugin({
    name: 'counter',
    version: '1.0.0',
    provides: [counter],
    state: defineState<{ count: number }>({ schema: 1 }),
    setup(ctx) {
      let count = ctx.previous?.state.count ?? 0;
      ctx.resources.lease(numbers, { key: 'mine' });
      ctx.hooks.tap(tick, async () => {
        count += step;
      });
      ctx.provide(counter, {
        async next() {
          count += step;
          return count;
        },
      });
      return { snapshot: () => ({ count }) };
    },
  });
}

function source(step: number): string {
  return `import { defineHook, definePlugin, definePool, defineService, defineState } from '@runtime/sdk';
import { step } from './step.ts';

const counter = defineService<{ next(): Promise<number> }>('counter', { version: '1.0.0' });
const numbers = definePool('bench-numbers', { kind: 'id', from: 1n, to: 100n });
const tick = defineHook<[n: number]>()('bench/tick', 'series', ['n']);

export default definePlugin({
  name: 'counter',
  provides: [counter],
  state: defineState<{ count: number }>({ schema: 1 }),
  setup(ctx) {
    // Generation ${step}.
    let count = ctx.previous?.state.count ?? 0;
    ctx.resources.lease(numbers, { key: 'mine' });
    ctx.hooks.tap(tick, async () => {
      count += step;
    });
    ctx.provide(counter, {
      async next() {
        count += step;
        return count;
      },
    });
    return { snapshot: () => ({ count }) };
  },
});
`;
}

/** Uses the counter, as a reload with no consumer would have less to do. */
const consumer = definePlugin({
  name: 'consumer',
  requires: { counter: needs(counter, '^1.0.0') },
  async setup(ctx) {
    await ctx.services.counter.next();
  },
});

/** The time of `reload()` alone; `change` makes the next generation. */
function reloading(runtime: Runtime, change: (step: number) => AnyPlugin | undefined): Side {
  const handle = runtime.get(counter);
  let step = 1;
  return async (iterations) => {
    let ns = 0;
    for (let i = 0; i < iterations; i++) {
      step += 1;
      const before = await handle.next();
      const next = change(step);
      const startedAt = process.hrtime.bigint();
      const report = await runtime.reload('counter', next);
      ns += Number(process.hrtime.bigint() - startedAt);
      // A reload that did not happen would be the fastest.
      if (report.outcome !== 'swapped') throw new Error(`not reloaded: ${report.outcome}`, { cause: report.error });
      if ((await handle.next()) !== before + step) throw new Error('the reload lost the state, or kept the old code');
    }
    return new Timed(ns);
  };
}

const benchmarks: readonly Benchmark[] = [
  {
    name: 'reload/definition',
    title: 'reload of a plugin with state, lease, tap and consumer; the new definition is given',
    target: { kind: 'absolute', atMostNs: 50e6 },
    async prepare() {
      const runtime = createRuntime({ log: createLogger({ level: 'silent' }) });
      await runtime.use(generation(1)).use(consumer).start();
      return { ours: reloading(runtime, generation), end: () => runtime.stop() };
    },
  },
  {
    name: 'reload/dev',
    title: 'the same, its two changed files loaded again by the development loader',
    target: { kind: 'absolute', atMostNs: 50e6 },
    plan: { iterations: 1, rounds: 50 },
    async prepare() {
      const folder = makeFolder();
      const write = (step: number): undefined => {
        writeFileSync(join(folder.path, 'counter/step.ts'), `export const step = ${step};\n`);
        writeFileSync(join(folder.path, 'counter/index.ts'), source(step));
      };
      writePlugin(folder.path, { name: 'counter', provides: { counter: '1.0.0' }, code: source(1) });
      write(1);
      const places = { cwd: folder.path, runtime: { folders: [], packages: [] }, user: join(folder.path, 'none') };
      const loader = createDevLoader();
      const runtime = createRuntime({ log: createLogger({ level: 'silent' }), loader });
      await runtime.use(findPlugin('./counter', places)).use(consumer).start();
      return {
        ours: reloading(runtime, write),
        end: async () => {
          await runtime.stop();
          await loader[Symbol.asyncDispose]();
          rmSync(folder.path, { recursive: true });
        },
      };
    },
  },
];

export default benchmarks;
