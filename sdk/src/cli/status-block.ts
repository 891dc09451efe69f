// The live view as text: what a runtime does, in as many lines as there are.

import type { PluginState, RuntimeEvent, RuntimeReport } from '@runtime/core';
import { type Column, cellText, displayWidth, formatTable } from './format.ts';
import { noPaint, type Paint, printable, type Style } from './terminal.ts';

export interface StatusFacts {
  readonly report: RuntimeReport;
  readonly version: string;
  /** Milliseconds. */
  readonly uptimeMs: number;
  /** Newest last. */
  readonly events: readonly RuntimeEvent[];
  /** What is going on, instead of how to stop. */
  readonly note: string | undefined;
}

const STATE_STYLE: Readonly<Record<PluginState, Style>> = {
  registered: 'dim',
  loading: 'yellow',
  setup: 'yellow',
  waiting: 'yellow',
  ready: 'green',
  quiescing: 'yellow',
  paused: 'yellow',
  disposing: 'yellow',
  disposed: 'dim',
  failed: 'red',
};

type PluginRow = RuntimeReport['plugins'][number];
const COLUMNS: readonly Column<PluginRow>[] = [
  { title: 'PLUGIN', value: (p) => p.name },
  { title: 'STATE', value: (p) => p.state },
  {
    title: 'TIME',
    value: (p) => (p.setupMs === undefined ? undefined : `${(p.setupMs + (p.readyMs ?? 0)).toFixed(1)} ms`),
    align: 'right',
  },
  { title: 'RUNS', value: (p) => p.isolation },
  { title: 'RELOADS', value: (p) => p.reloads || undefined, align: 'right' },
  { title: 'BUSY', value: (p) => p.error ?? p.busy.join(', ') },
];

/** At most `rows` lines, none wider than `columns`. What does not fit is counted. */
export function statusBlock(
  facts: StatusFacts,
  columns: number,
  rows: number,
  paint: Paint = noPaint,
): readonly string[] {
  const { report, events, note } = facts;
  const head = `${paint('bold', 'runtime')} ${facts.version}  ${report.state}  ${duration(facts.uptimeMs)}`;
  const foot = note === undefined ? paint('dim', 'ctrl+c stops') : paint('yellow', printable(note));
  const sections: readonly (readonly string[])[] = [
    ['', head],
    pluginLines(report, paint),
    listLines(
      'services',
      report.services.map((s) => `${s.service} ${s.version} by ${s.provider}${usedBy(s.consumers.length)}`),
      paint,
    ),
    listLines('leases', leaseTexts(report), paint),
    listLines(
      'processes',
      report.processes.map((p) => `${p.plugin}/${p.key} ${p.state}${p.pid === undefined ? '' : ` (${p.pid})`}`),
      paint,
    ),
    listLines('events', events.map(eventText).reverse(), paint),
    [foot],
  ];
  const lines = sections.flat();
  const room = Math.max(2, rows);
  const shown =
    lines.length <= room
      ? lines
      : [...lines.slice(0, room - 2), paint('dim', `… ${lines.length - room + 1} more lines`), foot];
  return shown.map((line) => fit(line, columns));
}

function pluginLines(report: RuntimeReport, paint: Paint): readonly string[] {
  if (report.plugins.length === 0) return [];
  const [title = '', ...lines] = formatTable(report.plugins, COLUMNS).split('\n');
  const styled = lines.map((line, i) => {
    const state = report.plugins[i]?.state ?? 'registered';
    // The name comes first and may contain the word for a state.
    const at = line.indexOf(` ${state}`) + 1;
    return at <= 0 ? line : line.slice(0, at) + paint(STATE_STYLE[state], state) + line.slice(at + state.length);
  });
  return [paint('dim', title), ...styled];
}

const LABEL_WIDTH = 10;
const MAX_LISTED = 5;

function listLines(label: string, texts: readonly string[], paint: Paint): readonly string[] {
  if (texts.length === 0) return [];
  const shown = texts.slice(0, MAX_LISTED).map(cellText);
  if (texts.length > MAX_LISTED) shown.push(`… and ${texts.length - MAX_LISTED} more`);
  return shown.map((text, i) => paint('dim', (i === 0 ? label : '').padEnd(LABEL_WIDTH)) + text);
}

function usedBy(count: number): string {
  return count === 0 ? '' : `, used by ${count}`;
}

function leaseTexts(report: RuntimeReport): readonly string[] {
  const pools = new Map<string, number>();
  for (const { pool } of report.leases) pools.set(pool, (pools.get(pool) ?? 0) + 1);
  return Array.from(pools, ([pool, count]) => `${pool}: ${count}`);
}

/** `#12 vm:started vmId=a cid=3 by vmm` */
function eventText({ id, topic, source, data }: RuntimeEvent): string {
  const fields = Object.entries(data as object).filter(([, value]) => typeof value !== 'object');
  return [`#${id}`, topic, ...fields.map(([key, value]) => `${key}=${cellText(value)}`), `by ${source}`].join(' ');
}

/** `1:02:03` */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1_000);
  const two = (n: number): string => String(n).padStart(2, '0');
  const [h, m, s] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Cut so that it never wraps, colours kept whole. */
export function fit(line: string, columns: number): string {
  if (displayWidth(line) <= columns) return line;
  let out = '';
  let width = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of this command.
  for (const part of line.split(/(\x1b\[\d*m)/)) {
    if (part.startsWith('\x1b[')) {
      out += part;
      continue;
    }
    for (const character of part) {
      const w = displayWidth(character);
      if (width + w > columns - 1) return `${out}…\x1b[0m`;
      out += character;
      width += w;
    }
  }
  return out;
}
