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
  await printResult(context, reports, () => reports.map((r) => reportText(r, terminal.paint)).join('\n'));
  return reports.some(({ status }) => status === 'fail') ? 1 : 0;
}

/** Of the plugins named by --plugins, else of those that run. */
async function pluginReports(context: CliContext): Promise<readonly CheckReport[]> {
  if (context.globals.plugins === undefined) {
    return (await withClientIfAny(context, (client) => client.request('doctor', {}))) ?? [];
  }
  const { terminal } = context;
  await using app = await composeApp(context, {
    logLine: (json) => void terminal.err(`${logLineText(json, terminal.paintErr)}\n`),
    persistent: false,
    quiet: true,
  });
  await app.runtime.start();
  return await app.runtime.doctor();
}

const NAME_WIDTH = 18;

function reportText({ name, plugin, status, found, remedy }: CheckReport, paint: Paint): string {
  const title = plugin === 'runtime' ? name : `${plugin}: ${name}`;
  const line = `${paint(STYLES[status], status.padEnd(4))}  ${printable(title).padEnd(NAME_WIDTH)}  ${printable(found)}`;
  return remedy === undefined ? line : `${line}\n      ${paint('cyan', '→')} ${printable(remedy)}`;
}
