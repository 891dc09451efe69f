// `runtime plugin new`

import { resolve } from 'node:path';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { printResult } from '../print.ts';

export async function run(context: CliContext, { args: [folder = ''] }: CliCall): Promise<void> {
  const { createPlugin } = await import('../../scaffold/index.ts');
  const result = await createPlugin(resolve(context.cwd, folder));
  await printResult(context, result, () => JSON.stringify(result));
}
