// `runtime config show`

import { formatPath } from '@runtime/core';
import { configOf } from '../app.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { formatTable } from '../format.ts';
import { printResult } from '../print.ts';

export async function run(context: CliContext, { options }: CliCall): Promise<void> {
  const { leaves, files } = await configOf(context);
  const rows = leaves()
    .filter(({ origin }) => options.all === true || origin !== 'default')
    .map(({ path, value, origin }) => ({ key: formatPath(path), value, origin }));
  await printResult(context, rows, () => {
    const read = files.length === 0 ? 'no configuration file was found' : `read: ${files.join(', ')}`;
    if (rows.length === 0) return `${read}; everything is at its default (--all shows it)`;
    const table = formatTable(
      rows,
      [
        { title: 'KEY', value: (r) => r.key },
        { title: 'VALUE', value: (r) => r.value },
        { title: 'FROM', value: (r) => r.origin },
      ],
      100,
    );
    return `${table}\n\n${read}`;
  });
}
