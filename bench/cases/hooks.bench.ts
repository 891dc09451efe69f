// A hook with ten taps, of each kind, as a plugin calls it.

import { defineHook } from '@runtime/core';
import tapable from 'tapable';
import type { Benchmark, Sides } from '../benchmark.ts';
import { startPlugin } from '../plugin-context.ts';
import { counter, TEN_ASYNC, TEN_CHANGING, TEN_SYNC, type Tick } from '../ten.ts';

type Arguments = [tick: Tick];

const syncHook = defineHook<Arguments>()('bench/sync', 'sync', ['tick']);
const syncBailHook = defineHook<Arguments, Tick>()('bench/sync-bail', 'sync-bail', ['tick']);
const seriesHook = defineHook<Arguments>()('bench/series', 'series', ['tick']);
const parallelHook = defineHook<Arguments>()('bench/parallel', 'parallel', ['tick']);
const bailHook = defineHook<Arguments, Tick>()('bench/bail', 'bail', ['tick']);
const waterfallHook = defineHook<Arguments, Tick>()('bench/waterfall', 'waterfall', ['tick']);

function benchmark(kind: string, prepare: () => Promise<Sides>): Benchmark {
  const title = `\`${kind}\` hook with 10 taps, beside tapable`;
  return { name: `hook-10/${kind}`, title, peer: 'tapable', target: { kind: 'ratio', atMost: 1.5 }, prepare };
}

const benchmarks: readonly Benchmark[] = [
  benchmark('sync', async () => {
    const { ctx, end } = await startPlugin();
    const { hooks } = ctx;
    const peer = new tapable.SyncHook<Arguments>(['tick']);
    for (const [i, tap] of TEN_SYNC.entries()) {
      hooks.tap(syncHook, tap);
      peer.tap(`tap ${i}`, tap);
    }
    return {
      ours: (iterations) => {
        for (let n = 0; n < iterations; n++) hooks.call(syncHook, { n });
        return counter.sum;
      },
      peer: (iterations) => {
        for (let n = 0; n < iterations; n++) peer.call({ n });
        return counter.sum;
      },
      end,
    };
  }),

  benchmark('sync-bail', async () => {
    const { ctx, end } = await startPlugin();
    const { hooks } = ctx;
    const peer = new tapable.SyncBailHook<Arguments, Tick | undefined>(['tick']);
    for (const [i, tap] of TEN_SYNC.entries()) {
      hooks.tap(syncBailHook, tap);
      peer.tap(`tap ${i}`, tap as (tick: Tick) => undefined);
    }
    return {
      ours: (iterations) => {
        for (let n = 0; n < iterations; n++) hooks.call(syncBailHook, { n });
        return counter.sum;
      },
      peer: (iterations) => {
        for (let n = 0; n < iterations; n++) peer.call({ n });
        return counter.sum;
      },
      end,
    };
  }),

  benchmark('series', async () => {
    const { ctx, end } = await startPlugin();
    const { hooks } = ctx;
    const peer = new tapable.AsyncSeriesHook<Arguments>(['tick']);
    for (const [i, tap] of TEN_ASYNC.entries()) {
      hooks.tap(seriesHook, tap);
      peer.tapPromise(`tap ${i}`, tap);
    }
    return {
      ours: async (iterations) => {
        for (let n = 0; n < iterations; n++) await hooks.call(seriesHook, { n });
        return counter.sum;
      },
      peer: async (iterations) => {
        for (let n = 0; n < iterations; n++) await peer.promise({ n });
        return counter.sum;
      },
      end,
    };
  }),

  benchmark('parallel', async () => {
    const { ctx, end } = await startPlugin();
    const { hooks } = ctx;
    const peer = new tapable.AsyncParallelHook<Arguments>(['tick']);
    for (const [i, tap] of TEN_ASYNC.entries()) {
      hooks.tap(parallelHook, tap);
      peer.tapPromise(`tap ${i}`, tap);
    }
    return {
      ours: async (iterations) => {
        for (let n = 0; n < iterations; n++) await hooks.call(parallelHook, { n });
        return counter.sum;
      },
      peer: async (iterations) => {
        for (let n = 0; n < iterations; n++) await peer.promise({ n });
        return counter.sum;
      },
      end,
    };
  }),

  benchmark('bail', async () => {
    const { ctx, end } = await startPlugin();
    const { hooks } = ctx;
    const peer = new tapable.AsyncSeriesBailHook<Arguments, Tick | undefined>(['tick']);
    for (const [i, tap] of TEN_ASYNC.entries()) {
      hooks.tap(bailHook, tap);
      peer.tapPromise(`tap ${i}`, tap as (tick: Tick) => Promise<undefined>);
    }
    return {
      ours: async (iterations) => {
        for (let n = 0; n < iterations; n++) await hooks.call(bailHook, { n });
        return counter.sum;
      },
      peer: async (iterations) => {
        for (let n = 0; n < iterations; n++) await peer.promise({ n });
        return counter.sum;
      },
      end,
    };
  }),

  benchmark('waterfall', async () => {
    const { ctx, end } = await startPlugin();
    const { hooks } = ctx;
    const peer = new tapable.AsyncSeriesWaterfallHook<Arguments>(['tick']);
    for (const [i, tap] of TEN_CHANGING.entries()) {
      hooks.tap(waterfallHook, tap);
      peer.tapPromise(`tap ${i}`, tap);
    }
    return {
      ours: async (iterations) => {
        let sum = 0;
        for (let n = 0; n < iterations; n++) sum += (await hooks.call(waterfallHook, { n })).n;
        return sum;
      },
      peer: async (iterations) => {
        let sum = 0;
        for (let n = 0; n < iterations; n++) sum += (await peer.promise({ n })).n;
        return sum;
      },
      end,
    };
  }),
];

export default benchmarks;
