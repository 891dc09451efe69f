// From nothing to ready: the command with one plugin and with fifty, and fifty plugins in a process that runs already.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLogger, createRuntime, definePlugin, defineService, needs } from '@runtime/core';
import type { Benchmark } from '../benchmark.ts';
import { makeFolder, writeFiftyPlugins } from '../fixtures.ts';
import { EMPTY_NODE, ownEnvironment, ROOT, runtimeCommand, starting } from '../start-process.ts';

const READY = '"type":"ready"';
const HELLO = join(ROOT, 'examples/hello');

interface Part {
  depth(): Promise<number>;
}

/** Each needs one of the wave before. */
function fiftyDefinitions() {
  const tokens = Array.from({ length: 50 }, (_, i) => defineService<Part>(`part-${i}`, { version: '1.0.0' }));
  return tokens.map((own, i) => {
    const below = tokens[i - 10];
    return definePlugin({
      name: `part-${i}`,
      requires: below === undefined ? {} : { below: needs(below, '^1.0.0') },
      provides: [own],
      async setup(ctx) {
        const part = (ctx.services as { readonly below?: Part }).below;
        ctx.provide(own, { depth: async () => 1 + ((await part?.depth()) ?? 0) });
        await part?.depth();
      },
    });
  });
}

const benchmarks: readonly Benchmark[] = [
  {
    name: 'start/hello',
    title: '`runtime --plugins ./examples/hello`, from exec to ready',
    peer: 'empty Node',
    target: { kind: 'absolute', atMostNs: 300e6 },
    plan: { iterations: 1, rounds: 25 },
    prepare() {
      const folder = makeFolder();
      const common = { cwd: ROOT, env: ownEnvironment(folder.path) };
      return {
        ours: starting({ ...common, argv: runtimeCommand([HELLO]), ready: READY }),
        peer: starting({ ...common, argv: EMPTY_NODE, ready: 'ready' }),
        end: folder.remove,
      };
    },
  },
  {
    name: 'start/npm',
    title: '`npm start -- --plugins ./examples/hello`, from exec to ready',
    peer: 'npm start, empty Node',
    target: { kind: 'extra', atMostNs: 300e6 },
    plan: { iterations: 1, rounds: 15 },
    prepare() {
      const folder = makeFolder();
      const env = ownEnvironment(folder.path);
      const scripts = { start: EMPTY_NODE.map((word) => `'${word.replaceAll("'", '"')}'`).join(' ') };
      writeFileSync(join(folder.path, 'package.json'), JSON.stringify({ name: 'empty', private: true, scripts }));
      return {
        ours: starting({
          cwd: ROOT,
          env,
          argv: ['npm', 'start', '--', '--format', 'json', '--plugins', './examples/hello'],
          ready: READY,
        }),
        peer: starting({ cwd: folder.path, env, argv: ['npm', 'start'], ready: '\nready' }),
        end: folder.remove,
      };
    },
  },
  {
    name: 'start/50-plugins',
    title: '`runtime --plugins` with 50 plugins from 50 packages in 5 waves, from exec to ready',
    peer: 'empty Node',
    target: { kind: 'none' },
    plan: { iterations: 1, rounds: 15 },
    prepare() {
      const folder = makeFolder();
      const plugins = writeFiftyPlugins(folder.path);
      const common = { cwd: folder.path, env: ownEnvironment(folder.path) };
      return {
        ours: starting({ ...common, argv: runtimeCommand(plugins), ready: READY }),
        peer: starting({ ...common, argv: EMPTY_NODE, ready: 'ready' }),
        end: folder.remove,
      };
    },
  },
  {
    name: 'start/50-given',
    title: '`start()` and `stop()` of a runtime with 50 plugins given as objects, in 5 waves',
    target: { kind: 'none' },
    prepare: () => ({
      ours: async (iterations) => {
        let waves = 0;
        for (let i = 0; i < iterations; i++) {
          const runtime = createRuntime({ log: createLogger({ level: 'silent' }) });
          for (const plugin of fiftyDefinitions()) runtime.use(plugin);
          await runtime.start();
          waves += runtime.inspect().waves.length;
          await runtime.stop();
        }
        return waves;
      },
    }),
  },
];

export default benchmarks;
