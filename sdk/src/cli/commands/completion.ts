// `runtime completion`

import { didYouMean } from '@runtime/core';
import { errors } from '../../errors.ts';
import type { CliCall } from '../command-table.ts';
import { COMPLETION_SCRIPTS } from '../completion/scripts.ts';
import type { CliContext } from '../context.ts';

export async function run({ terminal }: CliContext, { args: [shell = ''] }: CliCall): Promise<void> {
  const shells = Object.keys(COMPLETION_SCRIPTS);
  const script = Object.hasOwn(COMPLETION_SCRIPTS, shell) ? COMPLETION_SCRIPTS[shell] : undefined;
  if (script === undefined) {
    const why = `there is no completion for "${shell}"${didYouMean(shell, shells)}; there is for ${shells.join(', ')}`;
    throw errors.SDK_ERR_USAGE({ details: { command: 'runtime completion', why } });
  }
  await terminal.out(script);
}
