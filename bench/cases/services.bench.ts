// A service call through a live handle beside the same call on the object itself; tracing is off.

import { createLoader, createLogger, createRuntime, definePlugin, defineService, findPlugin } from '@runtime/core';
import type { Benchmark } from '../benchmark.ts';
import { makeFolder, writePlugin } from '../fixtures.ts';

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

const PROVIDER = `import { definePlugin, defineService } from '@runtime/sdk';

const adder = defineService<{ add(a: number, b: number): Promise<number> }>('bench-adder', { version: '1.0.0' });

export default definePlugin({
  name: 'provider',
  provides: [adder],
  setup(ctx) {
    ctx.provide(adder, {
      async add(a, b) {
        return a + b;
      },
    });
  },
});
`;

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
  {
    name: 'service-call/isolated',
    title: 'the same call of a service whose plugin runs in a process of its own',
    target: { kind: 'none' },
    async prepare() {
      const folder = makeFolder();
      writePlugin(folder.path, { name: 'provider', provides: { 'bench-adder': '1.0.0' }, code: PROVIDER });
      const places = { cwd: folder.path, runtime: { folders: [], packages: [] }, user: folder.path };
      const loader = createLoader({ own: { '@runtime/sdk': import.meta.url } });
      const runtime = createRuntime({ log: createLogger({ level: 'silent' }), loader });
      await runtime.use(findPlugin('./provider', places), { isolation: 'process' }).start();
      const handle = runtime.get(adder);
      return {
        ours: async (iterations) => {
          let sum = 0;
          for (let n = 0; n < iterations; n++) sum = await handle.add(sum & 0xffff, n);
          return sum;
        },
        end: async () => {
          await runtime.stop();
          await loader[Symbol.asyncDispose]();
          folder.remove();
        },
      };
    },
  },
];

export default benchmarks;
