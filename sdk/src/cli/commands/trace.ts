// `runtime trace`

import type { TraceKind, TraceRecord } from '@runtime/core';
import { errors } from '../../errors.ts';
import { withClient } from '../client.ts';
import type { CliCall } from '../command-table.ts';
import type { CliContext } from '../context.ts';
import { EXIT_INTERRUPTED } from '../exit-codes.ts';
import { formatData, indent, toJson } from '../format.ts';
import { printResult } from '../print.ts';
import { type Paint, printable } from '../terminal.ts';

/** Characters of a record's detail on its line. */
const MAX_DETAIL = 120;

export async function run(context: CliContext, { options }: CliCall): Promise<number> {
  const { plugin, kind, vm, event, why } = options as {
    readonly plugin?: string;
    readonly kind?: TraceKind;
    readonly vm?: string;
    readonly event?: string;
    readonly why?: number;
  };
  if (why !== undefined) return explain(context, why);
  if (event !== undefined && kind !== undefined && kind !== 'event') {
    const details = { command: 'runtime trace', why: '--event is about records of kind event only' };
    throw errors.SDK_ERR_USAGE({ details });
  }
  const filter = {
    ...(plugin === undefined ? {} : { plugin }),
    ...(vm === undefined ? {} : { vm }),
    ...(event !== undefined ? { kind: 'event' as const } : kind === undefined ? {} : { kind }),
  };
  const isWanted = event === undefined ? () => true : topicMatcher(event);
  return withClient(context, async (client) => {
    const stream = client.stream('trace.subscribe', filter);
    const onAbort = (): void => stream.cancel();
    context.signal.addEventListener('abort', onAbort, { once: true });
    try {
      for await (const item of stream) {
        if (item.kind === 'dropped')
          await context.terminal.err(`${item.count} records were left out: the reader is slow\n`);
        else if (isWanted(item.record.name)) await printRecord(context, item.record);
      }
    } catch (e) {
      if (!context.signal.aborted) throw e;
    }
    return context.signal.aborted ? EXIT_INTERRUPTED : 0;
  });
}

async function explain(context: CliContext, id: number): Promise<number> {
  const chain = await withClient(context, (client) => client.request('trace.why', { id }));
  if (chain.length === 0) throw errors.SDK_ERR_TRACE_UNKNOWN({ details: { id } });
  await printResult(context, chain, () => whyText(chain, context.terminal.paint));
  return 0;
}

/** The first cause first, each effect below it and further in. */
export function whyText(chain: readonly TraceRecord[], paint: Paint): string {
  return chain
    .toReversed()
    .map((record, depth) => (depth === 0 ? '' : `${'  '.repeat(depth - 1)}└ `) + recordText(record, paint))
    .join('\n');
}

async function printRecord({ terminal, globals }: CliContext, record: TraceRecord): Promise<void> {
  if (globals.format === 'json') await terminal.out(`${toJson(record)}\n`);
  else if (globals.format === 'yaml') await terminal.out(`---\n${await formatData(record, 'yaml')}\n`);
  else await terminal.out(`${recordText(record, terminal.paint)}\n`);
}

/** `10:00:00.123  #12 ←10  service end    greeter.greet  hello  1.2 ms` */
export function recordText(record: TraceRecord, paint: Paint): string {
  const time = new Date(record.at);
  const clock = `${time.toTimeString().slice(0, 8)}.${String(time.getMilliseconds()).padStart(3, '0')}`;
  const cause = record.cause === 0 ? '' : ` ←${record.cause}`;
  const phase = record.phase === 'point' ? '' : ` ${record.phase}`;
  const ms = record.ms === undefined ? '' : ` ${record.ms.toFixed(2)} ms`;
  const labels = Object.entries(record.labels ?? {}).map(([key, value]) => ` ${key}=${value}`);
  const detail = record.detail === undefined ? '' : ` ${shorten(toJson(record.detail))}`;
  const head = `${paint('dim', clock)} ${paint('cyan', `#${record.id}${cause}`.padEnd(12))}`;
  const what = `${(record.kind + phase).padEnd(14)} ${paint('bold', printable(record.name))} ${printable(record.plugin)}`;
  const tail = printable(ms + labels.join('')) + paint('dim', printable(detail));
  const error =
    record.error === undefined
      ? ''
      : `\n${indent(paint('red', printable(`${record.error.message} [${record.error.code}]`)))}`;
  return `${head} ${what}${tail}${error}`;
}

function shorten(text: string): string {
  return text.length <= MAX_DETAIL ? text : `${text.slice(0, MAX_DETAIL - 1)}…`;
}

function topicMatcher(pattern: string): (topic: string) => boolean {
  return pattern.endsWith('*') ? (topic) => topic.startsWith(pattern.slice(0, -1)) : (topic) => topic === pattern;
}
