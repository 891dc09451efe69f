// `runtime stop`

import { setTimeout as delay } from 'node:timers/promises';
import { errors } from '../../errors.ts';
import { withClient } from '../client.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { printResult } from '../print.ts';

const POLL_MS = 1_000;

export async function run(context: CliContext, { options }: CliCall): Promise<void> {
  const seconds = Number(options.timeout);
  const { pid } = await withClient(context, async (client) => {
    await client.request('stop', { reason: 'runtime stop' });
    const deadline = performance.now() + seconds * 1_000;
    const { server } = client;
    // The socket is closed last, so that its end is that of the runtime.
    let gone = false;
    const closed = client.closed.then(() => {
      gone = true;
    });
    let pending: readonly string[] = [];
    while (!gone) {
      context.signal.throwIfAborted();
      if (performance.now() >= deadline) {
        const details = { pid: server.pid, seconds, pending: pending.join('; ') || 'nothing in particular' };
        throw errors.SDK_ERR_STOP_TIMEOUT({ details });
      }
      await Promise.race([closed, delay(POLL_MS, undefined, { ref: false, signal: context.signal })]);
      if (gone) break;
      const status = await client.request('status', {}).catch(() => undefined);
      if (status === undefined) continue;
      if (context.globals.format === 'table' && status.pending.join() !== pending.join()) {
        await context.terminal.err(`waiting for ${status.pending.join('; ')}\n`);
      }
      pending = status.pending;
    }
    return server;
  });
  await printResult(context, { stopped: true, pid }, () => `stopped (pid ${pid})`);
}
