// A service call through a live handle beside the same call on the object itself; tracing is off.

import { createLogger, createRuntime, definePlugin, defineService } from '@runtime/core';
import type { Benchmark } from '../benchmark.ts';

interface Adder {
  add(a: number, b: number): Promise<number>;
}

const adder = defineService<Adder>('bench-adder', { version: '1.0.0' });

const direct: Adder = {
  async add(a, b) {
    return a + b;
  },
};
const provided: Adder = {
  async add(a, b) {
    return a + b;
  },
};

const benchmarks: readonly Benchmark[] = [
  {
    name: 'service-call',
    title: 'awaited call of a service, beside a direct call of an async method',
    peer: 'direct call',
    target: { kind: 'extra', atMostNs: 200 },
    async prepare() {
      const { promise, resolve } = Promise.withResolvers<Adder>();
      const runtime = createRuntime({ log: createLogger({ level: 'silent' }) });
      runtime.use(
        definePlugin({
          name: 'provider',
          provides: [adder],
          setup(ctx) {
            ctx.provide(adder, provided);
          },
        }),
      );
      runtime.use(
        definePlugin({
          name: 'consumer',
          requires: { adder },
          setup(ctx) {
            resolve(ctx.services.adder);
          },
        }),
      );
      await runtime.start();
      const handle = await promise;
      return {
        ours: async (iterations) => {
          let sum = 0;
          for (let n = 0; n < iterations; n++) sum = await handle.add(sum & 0xffff, n);
          return sum;
        },
        peer: async (iterations) => {
          let sum = 0;
          for (let n = 0; n < iterations; n++) sum = await direct.add(sum & 0xffff, n);
          return sum;
        },
        end: () => runtime.stop(),
      };
    },
  },
];

export default benchmarks;
