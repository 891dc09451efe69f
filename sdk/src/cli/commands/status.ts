// `runtime status`

import { withClient } from '../client.ts';
import type { CliContext } from '../context.ts';
import { formatFields, formatTable } from '../format.ts';
import { printResult } from '../print.ts';

export async function run(context: CliContext): Promise<void> {
  const status = await withClient(context, (client) => client.request('status', {}));
  await printResult(context, status, () => {
    const facts = formatFields([
      ['state', status.state],
      ['version', status.version],
      ['pid', status.pid],
      ['instance', status.instance],
      ['started in', status.startMs === undefined ? undefined : `${Math.round(status.startMs)} ms`],
    ]);
    const plugins = formatTable(status.plugins, [
      { title: 'PLUGIN', value: (p) => p.name },
      { title: 'VERSION', value: (p) => p.version },
      { title: 'STATE', value: (p) => p.state },
    ]);
    return `${facts}\n\n${plugins}`;
  });
}
