// Reloads a plugin over and over, through the development loader and from changed sources, while another plugin calls it
// a thousand times a second. Prints what it measured as one line of JSON; the test beside judges it.
//
// usage: node --expose-gc --conditions=@runtime/source storm.ts FOLDER RELOADS

import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRuntime, definePlugin, defineService } from '@runtime/core';
import { findPlugin } from '@runtime/core/loader';
import { createDevLoader } from '../../sdk/src/dev/index.ts';

interface Storm {
  next(): Promise<number>;
  generation(): Promise<string>;
}
const storm = defineService<Storm>('storm', { version: '1.0.0' });

const [folder = '', reloads = '1000'] = process.argv.slice(2);
/** A first few reloads fill caches and compile code; the heap is measured after them. */
const WARM_UP = 50;

const source = (generation: string, sabotage = ''): string => `
import { definePlugin, defineHook, definePool, defineService, defineState } from '@runtime/core';
const storm = defineService('storm', { version: '1.0.0' });
const cids = definePool('cid', { kind: 'id', from: 3n, to: 1000n });
const question = defineHook()('storm/question', 'bail', ['n']);
const ballast: string[] = Array.from({ length: 2_000 }, (_, i) => 'ballast ${generation} ' + i);
${sabotage === 'syntax' ? 'const = 5;' : ''}
export default definePlugin({
  name: 'storm',
  provides: [storm],
  state: defineState<{ count: number }>({ schema: ${sabotage === 'state' ? 2 : 1} }),
  async setup(ctx) {
    let count = ctx.previous?.state.count ?? 0;
    for (let i = 0; i < 10; i++) ctx.resources.lease(cids, { key: 'vm' + i });
    ctx.hooks.tap(question, async () => '${generation}');
    ctx.events.on('core:*', () => {});
    await ctx.processes.spawn({ key: 'child', kind: 'test', argv: ['sleep', '1000'] });
    await ctx.keepers.keep('fd', 'null', async () => (await import('node:fs')).openSync('/dev/null', 'r'));
    ${sabotage === 'throw' ? "throw new Error('sabotage');" : ''}
    ${sabotage === 'hang' ? 'await new Promise(() => {});' : ''}
    ctx.provide(storm, {
      next: async () => { count += 1; return count; },
      generation: async () => '${generation}' + (ballast.length > 0 ? '' : '!'),
    });
    return { snapshot: () => ({ count }) };
  },
});
`;

interface Result {
  answered: number;
  failed: string[];
  /** Answers that did not come as the next number. */
  outOfOrder: number;
}

const result: Result = { answered: 0, failed: [], outOfOrder: 0 };
let calling = true;

const caller = definePlugin({
  name: 'caller',
  requires: { storm },
  setup(ctx) {
    let expected = 0;
    const tick = (): void => {
      void ctx.services.storm.next().then(
        (n) => {
          result.answered += 1;
          expected += 1;
          if (n !== expected) result.outOfOrder += 1;
        },
        (error: unknown) => result.failed.push(String(error)),
      );
    };
    // Timers drift under load; the count per second is kept by making up for it.
    let sent = 0;
    const since = performance.now();
    const timer = setInterval(() => {
      for (; calling && sent < performance.now() - since; sent++) tick();
    }, 1);
    ctx.scope.defer('timer', () => clearInterval(timer));
  },
});

function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

function heapMb(): number {
  for (let i = 0; i < 4; i++) globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1024 / 1024;
}

const entry = join(folder, 'index.ts');
const about = { plugin: 'storm', core: '^0.1.0', source: './index.ts', provides: { storm: '1.0.0' } };
const manifest = { name: 'storm', version: '1.0.0', type: 'module', runtime: about };
writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
const write = (generation: string, sabotage?: string): void => writeFileSync(entry, source(generation, sabotage));

write('0');
const found = findPlugin(folder, { cwd: folder, runtime: { folders: [], packages: [] }, user: folder });
const loader = await createDevLoader({});
const runtime = createRuntime({ loader, timeouts: { setupMs: 2_000 } });
runtime.use(found).use(caller);
await runtime.start();
const service = runtime.get(storm);

const census = (): object => {
  const { leases, events, hooks, processes, keepers } = runtime.inspect();
  const listeners = events.map(({ topic, listeners }) => [topic, listeners]);
  return { leases: leases.map(({ key, value }) => `${key}=${value}`), listeners, hooks, processes, keepers };
};

async function reload(generation: string, sabotage?: string): Promise<string> {
  write(generation, sabotage);
  const report = await runtime.reload('storm');
  return report.outcome;
}

const outcomes: Record<string, number> = {};
const times: number[] = [];
let before: { heap: number; fds: number; census: string } | undefined;
for (let i = 1; i <= Number(reloads); i++) {
  if (i === WARM_UP) before = { heap: heapMb(), fds: openFds(), census: JSON.stringify(census()) };
  const startedAt = performance.now();
  const outcome = await reload(String(i));
  times.push(performance.now() - startedAt);
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  if ((await service.generation()) !== String(i)) outcomes.stale = (outcomes.stale ?? 0) + 1;
}
const after = { heap: heapMb(), fds: openFds(), census: JSON.stringify(census()) };

const sabotaged: Record<string, string> = {};
for (const sabotage of ['syntax', 'throw', 'hang', 'state']) {
  sabotaged[sabotage] = `${await reload('broken', sabotage)}, then ${await service.generation()}`;
}
const mended = `${await reload('mended')}, then ${await service.generation()}`;

calling = false;
await runtime.stop();
await loader[Symbol.asyncDispose]();
times.sort((a, b) => a - b);
const medianMs = times[Math.floor(times.length / 2)];
console.log(JSON.stringify({ ...result, outcomes, before, after, sabotaged, mended, medianMs }));
