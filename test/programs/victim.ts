// A runtime that is always busy: plugins are added and removed, children start and stop, leases come and go, documents are
// written. It is there to be killed. Prints "running" once it is, with what it found of the one before.
//
// usage: node --conditions=@runtime/source victim.ts STATE_DIRECTORY [once]

import { type AnyPlugin, createRuntime, definePlugin, definePool } from '@runtime/core';
import { linuxHost } from '@runtime/sdk/linux';

const [stateDirectory = '', mode] = process.argv.slice(2);
const cids = definePool('cid', { kind: 'id', from: 3n, to: 1000n });

/** Each has a helper of its own, so that an orphan of an orphan would be seen too. */
const CHILD = ['sh', '-c', 'sleep 1000 & wait'] as const;

interface Ledger {
  readonly round: number;
  /** Always `round` as text, many times over: half a document cannot look whole. */
  readonly echo: string;
}
const ledger = (round: number): Ledger => ({ round, echo: `${round};`.repeat(2_000) });

const found: Record<string, unknown> = {};

const keeper = definePlugin({
  name: 'keeper',
  async setup(ctx) {
    const document = (await ctx.state.read('ledger')) as Ledger | undefined;
    found.round = document?.round ?? 0;
    found.whole = document === undefined || document.echo === ledger(document.round).echo;
    found.documents = await ctx.state.list();
    found.adopted = ctx.processes.list().map(({ key, data }) => ({ key, data }));
    const guest = await ctx.processes.spawn({
      key: 'guest',
      kind: 'test',
      argv: CHILD,
      detached: true,
      data: { name: 'penguin' },
    });
    found.guest = guest.pid;
    let round = document?.round ?? 0;
    const write = async (): Promise<void> => {
      while (mode !== 'once' && !ctx.signal.aborted) {
        round += 1;
        await ctx.state.write('ledger', ledger(round));
      }
    };
    return { ready: () => void write() };
  },
});

const worker = (n: number): AnyPlugin =>
  definePlugin({
    name: `worker-${n}`,
    async setup(ctx) {
      ctx.resources.lease(cids, { key: 'vm' });
      await ctx.processes.spawn({ key: 'helper', kind: 'test', argv: CHILD });
    },
  }) as unknown as AnyPlugin;

const runtime = createRuntime({ stateDirectory, native: linuxHost });
runtime.use(keeper).use(worker(0));
await runtime.start();
console.log(JSON.stringify({ running: true, ...found }));

if (mode === 'once') {
  await runtime.stop();
} else {
  for (let n = 1; ; n++) {
    await runtime.add(worker(n));
    if (n % 2 === 0) await runtime.remove(`worker-${n}`);
    if (n > 8) await runtime.remove(`worker-${n % 2 === 0 ? n - 7 : n - 8}`).catch(() => {});
  }
}
