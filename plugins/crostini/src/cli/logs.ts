// `runtime logs`: what a VM has written to its console, and what its kernel and its programs have logged.

import type { CommandIo, CommandRegistry } from '@runtime/sdk';
import { type LogKeeper, lineOf, onceEach } from '../concierge/log-keeper.ts';
import { escapeText, LOG_SOURCES, type LogRecord, type LogSource } from '../concierge/log-records.ts';
import { type VmKey, vmKey } from '../concierge/names.ts';
import { errors } from '../errors.ts';
import { DEFAULT_VM } from './defaults.ts';
import type { CommandParts } from './index.ts';

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export function addLogs(commands: CommandRegistry, parts: CommandParts): void {
  commands.add(
    {
      name: 'logs',
      summary: 'show what a VM has logged: its console, its kernel, its programs, and what crashed',
      description: 'Also of one that has ended, until it is deleted.',
      args: [{ name: 'name', summary: `default ${DEFAULT_VM}` }],
      options: {
        follow: { type: 'boolean', short: 'f', summary: 'go on with what comes, until the VM ends' },
        lines: { type: 'number', short: 'n', summary: 'only the last ones, as many as this' },
        since: { type: 'string', summary: 'only newer ones: 10m, 2h, 1d, or a time such as 2026-12-01T10:00' },
        source: { type: 'string', multiple: true, choices: LOG_SOURCES, summary: 'only those from there' },
        format: {
          type: 'string',
          choices: ['text', 'json'],
          default: 'text',
          summary: 'json: a document in each line',
        },
      },
    },
    async ({ args: [name = DEFAULT_VM], options, io, signal }) => {
      const key = vmKey(name);
      const query = {
        lines: checkLines(options.lines),
        since: options.since === undefined ? undefined : parseSince(options.since, Date.now()),
        sources: options.source.length === 0 ? undefined : (options.source as readonly LogSource[]),
      };
      const print = printer(io, options.format === 'json');
      await show(parts, key, { ...query, follow: options.follow }, print, signal);
    },
  );
}

interface Wanted {
  readonly lines: number | undefined;
  readonly since: number | undefined;
  readonly sources: readonly LogSource[] | undefined;
  readonly follow: boolean;
}

type Print = (record: LogRecord) => Promise<void>;

/** @throws CROSTINI_ERR_VM_NOT_FOUND */
async function show(
  { logs, manager }: CommandParts,
  key: VmKey,
  { follow, ...query }: Wanted,
  print: Print,
  signal: AbortSignal,
): Promise<void> {
  const runs = await isThere(manager, key);
  if (!runs && !logs.has(key)) throw errors.CROSTINI_ERR_VM_NOT_FOUND({ details: { vm: key.name } });
  // From before the rest is read, so that nothing falls between the two.
  using following = follow && runs ? logs.follow(key, signal) : undefined;
  const isNew = onceEach();
  for (const record of await readOnce(logs, key, query, isNew)) {
    if (signal.aborted) return;
    await print(record);
  }
  if (following === undefined) return;
  for await (const record of following) {
    if (query.sources !== undefined && !query.sources.includes(record.source)) continue;
    if (isNew(record)) await print(record);
  }
}

async function readOnce(
  logs: Pick<LogKeeper, 'read'>,
  key: VmKey,
  query: Omit<Wanted, 'follow'>,
  isNew: (record: LogRecord) => boolean,
): Promise<readonly LogRecord[]> {
  const records = await logs.read(key, query);
  // Remembered for what comes next.
  for (const record of records) isNew(record);
  return records;
}

async function isThere(manager: CommandParts['manager'], { owner, name }: VmKey): Promise<boolean> {
  return (await manager.listVms({ owner })).some((vm) => vm.name === name);
}

function printer(io: CommandIo, asJson: boolean): Print {
  return (record) => io.out(asJson ? jsonOf(record) : lineOf(record));
}

/** JSON leaves some letters as they are that a terminal would not show as such. */
function jsonOf({ time, source, priority, text }: LogRecord): string {
  const json = JSON.stringify({ time: new Date(time).toISOString(), source, priority, text });
  return json.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (letter) =>
    Array.from({ length: letter.length }, (_, at) => `\\u${letter.charCodeAt(at).toString(16).padStart(4, '0')}`).join(
      '',
    ),
  );
}

/** @throws CROSTINI_ERR_USAGE */
function checkLines(lines: number | undefined): number | undefined {
  if (lines === undefined || (Number.isInteger(lines) && lines >= 0)) return lines;
  throw errors.CROSTINI_ERR_USAGE({ details: { option: 'lines', why: `${lines} is no whole number from 0` } });
}

/** Milliseconds since 1970. @throws CROSTINI_ERR_USAGE */
export function parseSince(text: string, now: number): number {
  const [, count = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (count !== '') return now - Number(count) * (UNITS[unit] ?? 0);
  // What Date.parse would make of any other text is anybody's guess.
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  const why = `${escapeText(text.slice(0, 60))} is neither a span such as 10m, 2h or 1d, nor a time such as 2026-12-01T10:00`;
  throw errors.CROSTINI_ERR_USAGE({ details: { option: 'since', why } });
}
