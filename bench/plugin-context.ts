// What a plugin has in hand, in a runtime of its own: benchmarks measure what plugins use.

import { createLogger, createRuntime, definePlugin, type PluginContext } from '@runtime/core';

export type BenchContext = PluginContext<Record<never, never>, readonly [], undefined, undefined>;

/** Runs until `end`; logs nothing, so that a slow terminal is not measured. */
export async function startPlugin(): Promise<{ readonly ctx: BenchContext; readonly end: () => Promise<void> }> {
  const { promise, resolve } = Promise.withResolvers<BenchContext>();
  const runtime = createRuntime({ log: createLogger({ level: 'silent' }) });
  runtime.use(
    definePlugin({
      name: 'bench',
      setup(ctx) {
        resolve(ctx);
      },
    }),
  );
  await runtime.start();
  return { ctx: await promise, end: () => runtime.stop() };
}
