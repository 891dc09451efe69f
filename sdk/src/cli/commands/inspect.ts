// `runtime inspect`

import { didYouMean, type RuntimeReport } from '@runtime/core';
import { errors } from '../../errors.ts';
import { withClient } from '../client.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { type Column, formatTable, indent } from '../format.ts';
import { printResult } from '../print.ts';

type Listed = 'plugins' | 'services' | 'hooks' | 'events' | 'leases' | 'keepers' | 'processes';
type Row<P extends Listed> = RuntimeReport[P][number];

const PARTS: { readonly [P in Listed]: readonly Column<Row<P>>[] } = {
  plugins: [
    { title: 'PLUGIN', value: (p) => p.name },
    { title: 'VERSION', value: (p) => p.version },
    { title: 'STATE', value: (p) => p.state },
    { title: 'RUNS', value: (p) => p.isolation },
    { title: 'SETUP MS', value: (p) => p.setupMs, align: 'right' },
    { title: 'RELOADS', value: (p) => p.reloads, align: 'right' },
    { title: 'HOLDS', value: (p) => p.holds.length, align: 'right' },
    { title: 'BUSY', value: (p) => p.busy },
  ],
  services: [
    { title: 'SERVICE', value: (s) => s.service },
    { title: 'VERSION', value: (s) => s.version },
    { title: 'PROVIDER', value: (s) => s.provider },
    { title: 'REBIND', value: (s) => s.rebind },
    { title: 'CALLS NOW', value: (s) => s.inFlight, align: 'right' },
    { title: 'USED BY', value: (s) => s.consumers },
  ],
  hooks: [
    { title: 'HOOK', value: (h) => h.hook },
    { title: 'KIND', value: (h) => h.kind },
    {
      title: 'TAPS, IN ORDER',
      value: (h) => h.taps.map(({ plugin, stage }) => (stage === 0 ? plugin : `${plugin}@${stage}`)),
    },
  ],
  events: [
    { title: 'TOPIC', value: (e) => e.topic },
    { title: 'EMITTED', value: (e) => e.emitted, align: 'right' },
    {
      title: 'LISTENERS',
      value: (e) => Object.entries(e.listeners).map(([plugin, n]) => (n === 1 ? plugin : `${plugin} ×${n}`)),
    },
  ],
  leases: [
    { title: 'POOL', value: (l) => l.pool },
    { title: 'VALUE', value: (l) => l.value },
    { title: 'OWNER', value: (l) => l.owner },
    { title: 'KEY', value: (l) => l.key },
    { title: 'STATE', value: (l) => l.state },
  ],
  keepers: [
    { title: 'PLUGIN', value: (k) => k.plugin },
    { title: 'KEY', value: (k) => k.key },
    { title: 'KIND', value: (k) => k.kind },
  ],
  processes: [
    { title: 'PLUGIN', value: (p) => p.plugin },
    { title: 'KEY', value: (p) => p.key },
    { title: 'KIND', value: (p) => p.kind },
    { title: 'PID', value: (p) => p.pid, align: 'right' },
    { title: 'STATE', value: (p) => p.state },
    { title: 'RESTARTS', value: (p) => p.restarts, align: 'right' },
    { title: 'OUTLIVES', value: (p) => p.detached },
  ],
};

export async function run(context: CliContext, { args: [part] }: CliCall): Promise<void> {
  if (part !== undefined && !isPart(part)) {
    const why = `there is no part "${part}"${didYouMean(part, Object.keys(PARTS))}`;
    throw errors.SDK_ERR_USAGE({ details: { command: 'runtime inspect', why } });
  }
  const report = await withClient(context, (client) => client.request('inspect', {}));
  if (part !== undefined) return printResult(context, report[part], () => table(report, part));
  await printResult(context, report, () =>
    (Object.keys(PARTS) as Listed[]).map((p) => `${p}\n${indent(table(report, p))}`).join('\n\n'),
  );
}

function isPart(text: string): text is Listed {
  return Object.hasOwn(PARTS, text);
}

function table<P extends Listed>(report: RuntimeReport, part: P): string {
  const rows: readonly Row<P>[] = report[part];
  return rows.length === 0 ? '(none)' : formatTable(rows, PARTS[part]);
}
