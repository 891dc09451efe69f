// Lines of the log, which is JSON, for people.

import { cellText } from './format.ts';
import { noPaint, type Paint, printable, type Style } from './terminal.ts';

/** The numbers of pino. */
const LEVELS: Readonly<Record<number, readonly [name: string, style: Style]>> = {
  20: ['debug', 'dim'],
  30: ['', 'dim'],
  40: ['warning', 'yellow'],
  50: ['error', 'red'],
  60: ['fatal', 'red'],
};

/** Keys that are shown otherwise or not at all. */
const HIDDEN: ReadonlySet<string> = new Set(['level', 'time', 'plugin', 'msg', 'err', 'pid', 'hostname', 'name', 'v']);
const PLUGIN_WIDTH = 12;

/** `hello        Hello, world.  key=value` */
export function logLineText(json: string, paint: Paint = noPaint): string {
  let record: Readonly<Record<string, unknown>>;
  try {
    record = JSON.parse(json) as Readonly<Record<string, unknown>>;
  } catch {
    return printable(json.trimEnd());
  }
  const [level, style] = LEVELS[Number(record.level)] ?? ['', 'dim'];
  const message = printable(String(record.msg ?? ''));
  const more = Object.entries(record)
    .filter(([key]) => !HIDDEN.has(key))
    .map(([key, value]) => paint('dim', ` ${key}=${cellText(value)}`));
  const prefix = level === '' ? '' : `${paint(style, `${level}:`)} `;
  return (
    sourceText(String(record.plugin ?? 'runtime'), paint) + prefix + message + more.join('') + errorTail(record.err)
  );
}

/** The first column of every line. */
export function sourceText(plugin: string, paint: Paint = noPaint): string {
  return `${paint('cyan', printable(plugin).padEnd(PLUGIN_WIDTH))} `;
}

function errorTail(err: unknown): string {
  if (typeof err !== 'object' || err === null) return '';
  const { message, code } = err as { message?: unknown; code?: unknown };
  const name = typeof code === 'string' ? ` [${code}]` : '';
  return message === undefined ? '' : ` (${printable(String(message))}${name})`;
}
