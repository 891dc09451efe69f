// `runtime termina snapshot …`: guests that have booted, which VMs go on from.

import type { CommandRegistry } from '@runtime/sdk';
import { errors } from '../errors.ts';
import type { SnapshotStore } from '../snapshots/store.ts';

/** @param store what keeps them is loaded when it is asked for */
export function addTerminaSnapshots(commands: CommandRegistry, store: () => Promise<SnapshotStore>): void {
  commands.add(
    {
      name: 'termina snapshot list',
      summary: 'list the guests that have booted, which VMs go on from, newest use first',
      description: 'They are made where crostini.snapshots is auto or on.',
    },
    async ({ io }) => {
      const all = (await store()).list();
      await io.data(
        all.map(({ key, bytes, usedAt }) => ({ id: key.slice(0, 12), bytes, used: new Date(usedAt).toISOString() })),
      );
    },
  );
  commands.add(
    {
      name: 'termina snapshot remove',
      summary: 'remove such guests; VMs that went on from them run on',
      args: [{ name: 'id', summary: 'or the beginning of one', variadic: true }],
      options: { all: { type: 'boolean', summary: 'all of them' } },
    },
    async ({ args: ids, options }) => {
      if (options.all === ids.length > 0) {
        throw errors.CROSTINI_ERR_USAGE({
          details: { option: 'all', why: 'name snapshots, or say that all are meant' },
        });
      }
      const found = await store();
      const keys = found.list().map(({ key }) => key);
      const chosen = options.all ? keys : ids.map((id) => chosenBy(id, keys));
      for (const key of chosen) found.remove(key);
    },
  );
}

/** @throws CROSTINI_ERR_USAGE */
function chosenBy(id: string, keys: readonly string[]): string {
  const [key, ...more] = keys.filter((one) => id !== '' && one.startsWith(id));
  if (key !== undefined && more.length === 0) return key;
  const why =
    key === undefined ? `no snapshot is called ${JSON.stringify(id)}` : `several begin with ${JSON.stringify(id)}`;
  throw errors.CROSTINI_ERR_USAGE({ details: { option: 'id', why } });
}
