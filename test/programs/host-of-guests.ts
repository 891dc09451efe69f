// What guests can reach of a host, in a process of its own: the concierge of VMs whose machines are nothing but folders.
// Whoever started it plays the guests, on their sockets, and asks for things over the channel of fork().

import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { finished } from 'node:stream/promises';
import { isRuntimeError } from '@runtime/sdk/errors';
import { startRig } from '../../plugins/crostini/src/concierge/test-rig.ts';
import { openVsh } from '../../plugins/crostini/src/vsh/client.ts';

export interface HostStats {
  /** Bytes. */
  readonly rss: number;
  readonly heap: number;
  readonly descriptors: number;
  /** Longest time since the last call in which it did nothing else, ms. */
  readonly stuckMs: number;
}

/** How a session ended: the exit code, or the code of the error; and how many bytes came. */
export interface VshOutcome {
  readonly end: number | string;
  readonly bytes: number;
}

interface Asked {
  readonly id: number;
  readonly what: string;
  readonly args: readonly unknown[];
}

const rig = await startRig();
rig.fake.behaviour = { absent: true };
const delays = monitorEventLoopDelay({ resolution: 10 });
delays.enable();

const handlers = {
  start: (name: string, timeoutMs: number) => rig.manager.startVm({ name, profile: 'fast', timeoutMs }),
  stop: (name: string) => rig.manager.stopVm(name),
  end: (machine: string) => rig.fake.end(machine, 'it was ended'),
  list: () => rig.manager.listVms(),
  leases: () => rig.runtime.inspect().leases.map(({ pool, key }) => `${pool} ${key}`),
  answer: (machine: string, port: number) => rig.manager.answer(machine, port)?.path,
  directory: (machine: string) => rig.fake.machines.get(machine)?.directory,
  stats: (): HostStats => {
    globalThis.gc?.();
    const { rss, heapUsed } = process.memoryUsage();
    const stuckMs = Math.round(delays.max / 1e6);
    delays.reset();
    return { rss, heap: heapUsed, descriptors: readdirSync('/proc/self/fd').length, stuckMs };
  },
  /** @param reads whether its output is read */
  vsh: async (socketPath: string, reads: boolean, forMs: number): Promise<VshOutcome> => {
    let bytes = 0;
    try {
      const signal = AbortSignal.timeout(forMs);
      using session = await openVsh({ socketPath, argv: ['x'], connectMs: forMs, signal });
      const outputs = [session.stdout, session.stderr];
      if (reads) {
        for (const output of outputs) output.on('data', (chunk: Buffer) => (bytes += chunk.length));
      }
      const end = await session.exit;
      if (reads) await Promise.all(outputs.map((output) => finished(output)));
      return { end, bytes };
    } catch (e) {
      return { end: isRuntimeError(e) ? e.code : (e as Error).name, bytes };
    }
  },
} as const;

export type HostCalls = typeof handlers;

process.on('message', async ({ id, what, args }: Asked) => {
  const handle = handlers[what as keyof HostCalls] as (...args: readonly unknown[]) => unknown;
  try {
    process.send?.({ id, value: await handle(...args) });
  } catch (e) {
    const { message, code } = e as Error & { readonly code?: string };
    process.send?.({ id, error: { message, code } });
  }
});
process.on('disconnect', async () => {
  await rig[Symbol.asyncDispose]();
  process.exit();
});
process.send?.({ id: 0 });
