// `runtime doctor`

import type { CheckReport } from '@runtime/core';
import { composeApp } from '../app.ts';
import { withClientIfAny } from '../client.ts';
import type { CliContext } from '../context.ts';
import { machineChecks } from '../doctor/machine-checks.ts';
import { logLineText } from '../log-line.ts';
import { printResult } from '../print.ts';
import { type Paint, printable, type Style } from '../terminal.ts';

const STYLES: Readonly<Record<CheckReport['status'], Style>> = { ok: 'green', warn: 'yellow', fail: 'red' };

export async function run(context: CliContext): Promise<number> {
  const { env, cwd, globals, terminal } = context;
  const reports: CheckReport[] = [];
  for (const [name, check] of machineChecks({ env, cwd, configFile: globals.config })) {
    reports.push({ name, plugin: 'runtime', ...(await check()) });
  }
  reports.push(...(await pluginReports(context)));
  await printResult(context, reports, () => reportsText(reports, terminal.paint, widthOf(terminal)));
  return reports.some(({ status }) => status === 'fail') ? 1 : 0;
}

/** Of those that run, who know more: whether they are on the bus, and what they hold; else of those that are named. */
async function pluginReports(context: CliContext): Promise<readonly CheckReport[]> {
  const { plugins: named } = context.globals;
  const running = await withClientIfAny(context, async (client) => {
    const known = (await client.request('plugin.list', {})).map(({ name }) => name);
    return (named ?? []).every((name) => known.includes(name)) ? await client.request('doctor', {}) : undefined;
  });
  if (running !== undefined) return running;
  if (named === undefined) return [];
  const { terminal } = context;
  await using app = await composeApp(context, {
    logLine: (json) => void terminal.err(`${logLineText(json, terminal.paintErr)}\n`),
    persistent: false,
    quiet: true,
  });
  await app.runtime.start();
  return await app.runtime.doctor();
}

/** Of a pipe, lines are not broken. */
function widthOf({ size }: CliContext['terminal']): number {
  return size.isTTY ? size.columns : Number.POSITIVE_INFINITY;
}

/** Columns beside what was found: of the status, and of the gaps. */
const STATUS_WIDTH = 6;
const ARROW = '→ ';

/** What belongs to one plugin stands under its name, and what is wrong is counted at the end. */
export function reportsText(reports: readonly CheckReport[], paint: Paint, columns: number): string {
  const groups = Map.groupBy(reports, ({ plugin }) => plugin);
  const nameWidth = Math.max(0, ...reports.map((report) => titleOf(report).length));
  const indent = ' '.repeat(STATUS_WIDTH + nameWidth + 2);
  const width = Math.max(30, columns - indent.length);
  const lines = [...groups].flatMap(([plugin, group]) => [
    paint('bold', plugin === 'runtime' ? 'this computer' : printable(plugin)),
    ...group.flatMap((report) => {
      const { status, found, remedy } = report;
      const text = wrap(printable(found), width);
      const more = remedy === undefined ? [] : wrap(printable(remedy), width - ARROW.length);
      const head = `${paint(STYLES[status], status.padEnd(STATUS_WIDTH))}${titleOf(report).padEnd(nameWidth)}  ${text[0]}`;
      return [
        head,
        ...text.slice(1).map((line) => indent + line),
        ...more.map((line, at) => `${indent}${at === 0 ? paint('cyan', ARROW) : '  '}${line}`),
      ];
    }),
    '',
  ]);
  return [...lines, summaryOf(reports, paint)].join('\n');
}

/** Without the name of its plugin, which stands above it. */
function titleOf({ name }: CheckReport): string {
  return printable(name);
}

function summaryOf(reports: readonly CheckReport[], paint: Paint): string {
  const count = (wanted: CheckReport['status']): number => reports.filter(({ status }) => status === wanted).length;
  const [fails, warnings] = [count('fail'), count('warn')];
  if (fails > 0) return paint('red', `${fails} of ${reports.length} checks failed`);
  if (warnings > 0) return paint('yellow', `${warnings} of ${reports.length} checks have something to say`);
  return paint('green', `all ${reports.length} checks are well`);
}

/** At spaces; a word that is too long stays whole, as it may have to be copied. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
