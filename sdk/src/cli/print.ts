// Printing a result in the form that was asked for.

import type { CliContext } from './context.ts';
import { formatData } from './format.ts';

/** As JSON or YAML, or as the text for people that `table` makes. */
export async function printResult(
  { terminal, globals }: CliContext,
  value: unknown,
  table: () => string | Promise<string>,
): Promise<void> {
  const text = globals.format === 'table' ? await table() : await formatData(value, globals.format);
  await terminal.out(`${text}\n`);
}
