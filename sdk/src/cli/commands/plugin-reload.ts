// `runtime plugin reload`

import { fromErrorRecord } from '@runtime/core';
import { withClient } from '../client.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { errorText, exitCodeOf } from '../error-text.ts';
import { printResult } from '../print.ts';

const OUTCOMES = {
  swapped: 'the new code serves',
  'kept-old': 'the new code was refused; the old goes on',
  'rolled-back': 'the new code failed; the old was set up again',
  failed: 'the new code failed, and so did the old when it was set up again',
} as const;

export async function run(context: CliContext, { args: [name = ''] }: CliCall): Promise<number> {
  const outcome = await withClient(context, (client) =>
    client.request('plugin.reload', { name }, { signal: context.signal }),
  );
  await printResult(context, outcome, () => {
    const with_ = outcome.restarted.length === 0 ? '' : `; restarted with it: ${outcome.restarted.join(', ')}`;
    return `${outcome.plugin}: ${OUTCOMES[outcome.outcome]} (${Math.round(outcome.ms)} ms)${with_}`;
  });
  if (outcome.outcome === 'swapped') return 0;
  if (outcome.error === undefined) return 1;
  const error = fromErrorRecord(outcome.error);
  if (context.globals.format === 'table') {
    await context.terminal.err(`${errorText(error, { paint: context.terminal.paintErr })}\n`);
  }
  return exitCodeOf(error);
}
