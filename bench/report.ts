// Results as a table: for the terminal and for docs/performance.md.

import { cpus, release, totalmem } from 'node:os';
import { isMet, type Rate, type Result, type Target } from './benchmark.ts';

const COLUMNS = ['benchmark', 'ours', 'peer', 'ours / peer', 'target', ''] as const;

const UNITS: readonly (readonly [atLeastNs: number, unit: string])[] = [
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [0, 'ns'],
];

export function formatNs(ns: number): string {
  const [scale, unit] = UNITS.find(([atLeast]) => Math.abs(ns) >= atLeast) ?? [1, 'ns'];
  const value = ns / Math.max(1, scale);
  return `${value.toFixed(Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0)} ${unit}`;
}

const NS_PER_S = 1e9;
const PREFIXES: readonly (readonly [atLeast: number, prefix: string])[] = [
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
  [0, ''],
];

/** @param ns for one iteration */
function formatRate(ns: number, { unit, perIteration }: Rate): string {
  const perSecond = (NS_PER_S / ns) * perIteration;
  const [scale, prefix] = PREFIXES.find(([atLeast]) => perSecond >= atLeast) ?? [1, ''];
  const value = perSecond / Math.max(1, scale);
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${prefix}${unit}`;
}

const MIB = 2 ** 20;
const formatBytes = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;

function formatMeasure(value: number, { rate, target }: Result): string {
  if (target.kind === 'size') return formatBytes(value);
  return rate === undefined ? formatNs(value) : formatRate(value, rate);
}

function formatTarget(target: Target): string {
  switch (target.kind) {
    case 'ratio':
      return `≤ ${target.atMost}×`;
    case 'speed':
      return `≥ ${target.atLeast}× as fast`;
    case 'extra':
      return `≤ ${formatNs(target.atMostNs)} more`;
    case 'absolute':
      return `≤ ${formatNs(target.atMostNs)}`;
    case 'size':
      return `≤ ${formatBytes(target.atMostBytes)}`;
    case 'none':
      return '–';
  }
}

function formatRatio({ ratio, extraNs, target, rate }: Result): string {
  if (ratio === undefined || extraNs === undefined) return '–';
  if (rate !== undefined) {
    const [median, low, high] = [1 / ratio.median, 1 / ratio.high, 1 / ratio.low];
    return `${median.toFixed(2)}× as fast (${low.toFixed(2)}–${high.toFixed(2)})`;
  }
  const difference = target.kind === 'extra' ? `${extraNs < 0 ? '' : '+'}${formatNs(extraNs)}, ` : '';
  return `${difference}${ratio.median.toFixed(2)}× (${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)})`;
}

function row(result: Result): readonly string[] {
  const met = isMet(result);
  return [
    result.name,
    formatMeasure(result.oursNs, result),
    result.peerNs === undefined ? '–' : `${formatMeasure(result.peerNs, result)} ${result.peer ?? ''}`,
    formatRatio(result),
    formatTarget(result.target),
    met === undefined ? '' : met ? 'met' : 'missed',
  ];
}

export function machine(): string {
  const [first] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  const model = first?.model.trim() ?? 'unknown CPU';
  return `${model}, ${cpus().length} cores, ${memory} GiB, Linux ${release().split('-')[0]}, Node ${process.versions.node}`;
}

/** @param widths of the columns before the last */
function line(cells: readonly string[], widths: readonly number[]): string {
  return cells
    .map((cell, i) => cell.padEnd(widths[i] ?? 0))
    .join('  ')
    .trimEnd();
}

const NAME_WIDTH = 28;
const WIDTHS = [NAME_WIDTH, 10, 30, 34, 16, 6];

export function headLine(): string {
  return line(COLUMNS, WIDTHS);
}
export function resultLine(result: Result): string {
  return line(row(result), WIDTHS);
}

const measuredOn = (date: string): string => `Measured on ${date}: ${machine()}.`;

function markdownRow(result: Result): string {
  const [, ...cells] = row(result);
  return `| ${result.title} | ${cells.join(' | ')} |`;
}

export function toMarkdown(results: readonly Result[], date: string): string {
  const [, ...columns] = COLUMNS;
  return [
    measuredOn(date),
    '',
    `| what | ${columns.join(' | ')} |`,
    `|---|${columns.map(() => '---').join('|')}|`,
    ...results.map(markdownRow),
  ].join('\n');
}

const BEGIN = '<!-- written by npm run bench -- --write -->';
const END = '<!-- end -->';

/** Puts the table between the markers of the page. */
export function replaceTable(page: string, table: string): string {
  const from = page.indexOf(BEGIN);
  const to = page.indexOf(END);
  if (from === -1 || to < from) throw new Error(`the page has no "${BEGIN}" … "${END}"`);
  return `${page.slice(0, from + BEGIN.length)}\n\n${table}\n\n${page.slice(to)}`;
}

/** Whether the table of the page was measured on this day and machine. */
export const isOf = (page: string, date: string): boolean => page.includes(`\n${measuredOn(date)}\n`);

/** Puts single rows into the table of the page. @throws Error when it has no row of that title */
export function replaceRows(page: string, results: readonly Result[]): string {
  const lines = page.split('\n');
  for (const result of results) {
    const at = lines.findIndex((text) => text.startsWith(`| ${result.title} | `));
    if (at === -1) throw new Error(`the page has no row "${result.title}"; write the whole table`);
    lines[at] = markdownRow(result);
  }
  return lines.join('\n');
}
