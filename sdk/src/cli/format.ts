// Data as a table for people, or as JSON or YAML for programs.

import { printable } from './terminal.ts';

export const FORMATS = ['table', 'json', 'yaml'] as const;
export type Format = (typeof FORMATS)[number];

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => unknown;
  readonly align?: 'left' | 'right';
}

/** Cells of a table are cut here unless the terminal is wider. */
const MAX_CELL = 60;
const GAP = '  ';

/** Without a trailing line feed. */
export async function formatData(value: unknown, format: Format): Promise<string> {
  if (format === 'json') return toJson(value, 2);
  if (format === 'yaml') {
    const { stringify } = await import('yaml');
    return stringify(JSON.parse(toJson(value)), { lineWidth: 0 }).trimEnd();
  }
  return dataToText(value);
}

/** JSON has no bigint, bytes, Map or Set: a bigint becomes a number where that is exact and else text, bytes base64. */
export function toJson(value: unknown, indent?: number): string {
  const plain = (_key: string, v: unknown): unknown => {
    if (typeof v === 'bigint') return Number.isSafeInteger(Number(v)) ? Number(v) : v.toString();
    if (v instanceof Uint8Array) return Buffer.from(v).toString('base64');
    if (v instanceof Map) return Object.fromEntries(v);
    if (v instanceof Set) return [...v];
    return v;
  };
  return JSON.stringify(value ?? null, plain, indent);
}

export function formatTable<T>(rows: readonly T[], columns: readonly Column<T>[], maxCell: number = MAX_CELL): string {
  const cells = rows.map((row) => columns.map((column) => cut(cellText(column.value(row)), maxCell)));
  const widths = columns.map((column, i) =>
    Math.max(column.title.length, ...cells.map((line) => displayWidth(line[i] ?? ''))),
  );
  const line = (texts: readonly string[]): string =>
    texts
      .map((text, i) => {
        const space = ' '.repeat(Math.max(0, (widths[i] ?? 0) - displayWidth(text)));
        return columns[i]?.align === 'right' ? space + text : text + space;
      })
      .join(GAP)
      .trimEnd();
  return [line(columns.map((c) => c.title)), ...cells.map(line)].join('\n');
}

/** What a value looks like in one cell. */
export function cellText(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-';
  if (typeof value === 'string') return printable(value).replaceAll('\n', ' ');
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : String(Math.round(value * 10) / 10);
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'bigint') return value.toString();
  if (Array.isArray(value)) return value.length === 0 ? '-' : value.map(cellText).join(', ');
  return printable(toJson(value));
}

function cut(text: string, max: number): string {
  return displayWidth(text) <= max ? text : `${text.slice(0, max - 1)}…`;
}

/** Columns that a text takes, colours left out. */
export function displayWidth(text: string): number {
  let width = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of this command.
  for (const character of text.replace(/\x1b\[\d*m/g, '')) width += isWide(character.codePointAt(0) ?? 0) ? 2 : 1;
  return width;
}

/** The blocks of East Asian width W and F that matter, https://www.unicode.org/reports/tr11/ */
function isWide(code: number): boolean {
  return (
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff)
  );
}

type Row = Readonly<Record<string, unknown>>;

const UNITS = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** People do not count bytes; programs get them as they are. */
function shown(key: string, value: unknown): unknown {
  const isSize = /(^|-)bytes$/.test(key) && typeof value === 'number' && value >= 1024;
  if (!isSize) return value;
  const at = Math.min(UNITS.length, Math.floor(Math.log2(value) / 10));
  return `${(value / 2 ** (10 * at)).toFixed(1)} ${UNITS[at - 1]}`;
}

/** Any data: a list of records is a table, a record its keys and values. */
function dataToText(value: unknown): string {
  if (Array.isArray(value)) {
    if (value.length === 0) return '(none)';
    if (!value.every(isRow)) return value.map(cellText).join('\n');
    const keys = [...new Set(value.flatMap((row) => Object.keys(row)))];
    return formatTable<Row>(
      value,
      keys.map((key) => ({
        title: key.toUpperCase(),
        value: (row) => shown(key, row[key]),
        align: value.every((row) => typeof row[key] === 'number' || typeof row[key] === 'bigint') ? 'right' : 'left',
      })),
    );
  }
  if (!isRow(value)) return cellText(value);
  return formatFields(Object.entries(value));
}

/** `key  value` lines; nested lists and records go below their key. */
export function formatFields(fields: readonly (readonly [string, unknown])[]): string {
  const width = Math.max(0, ...fields.map(([key]) => displayWidth(key)));
  return fields
    .map(([key, value]) => {
      const nested = (Array.isArray(value) && value.some(isRow)) || (isRow(value) && Object.keys(value).length > 0);
      if (nested) return `${key}\n${indent(dataToText(value))}`;
      return `${key}${' '.repeat(width - displayWidth(key))}${GAP}${cellText(shown(key, value))}`;
    })
    .join('\n');
}

export function indent(text: string, by: string = '  '): string {
  return text.replace(/^(?=.)/gm, by);
}

function isRow(value: unknown): value is Row {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return !(value instanceof Uint8Array || value instanceof Date || value instanceof Map || value instanceof Set);
}
