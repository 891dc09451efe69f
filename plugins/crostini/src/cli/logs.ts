// `runtime logs`: what a guest has written to its console.

import type { Vms } from '@runtime/plugin-vmm/contract';
import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { readConsoleLog } from '../concierge/console-log.ts';
import { machineName, vmKey } from '../concierge/names.ts';
import { type CommandParts, DEFAULT_VM } from './index.ts';

/** How long one read waits for output, ms. */
const WAIT_MS = 5_000;

export function addLogs(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'logs',
      summary: 'show what a VM has written to its console',
      description: 'Also of one that has ended, until the runtime does.',
      args: [{ name: 'name', summary: `default ${DEFAULT_VM}` }],
      options: { follow: { type: 'boolean', short: 'f', summary: 'go on with what comes' } },
    },
    async ({ args: [name = DEFAULT_VM], options, io, signal }) => {
      const { vms } = parts;
      const key = vmKey(name);
      await io.write(await readConsoleLog(vms, key));
      if (!options.follow) return;
      const machine = machineName(key);
      const { next } = await vms.readConsole(machine);
      await follow(vms, machine, next, io, signal);
    },
  );
}

async function follow(vms: Vms, machine: string, from: number, io: CommandIo, signal: AbortSignal): Promise<void> {
  const gone = new Promise<undefined>((resolve) =>
    signal.addEventListener('abort', () => resolve(undefined), { once: true }),
  );
  let next = from;
  while (!signal.aborted) {
    const chunk = await Promise.race([vms.readConsole(machine, { from: next, waitMs: WAIT_MS }), gone]);
    if (chunk === undefined) return;
    if (chunk.bytes.length > 0) await io.write(chunk.bytes);
    next = chunk.next;
    if (chunk.ended) return;
  }
}
