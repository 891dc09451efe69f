// Development: a changed file reloads the plugin it belongs to.

import { relative } from 'node:path';
import type { PluginLoader, ReloadReport } from '@runtime/core';
import type { App } from './app.ts';
import { errorText } from './error-text.ts';
import type { Screen } from './screen.ts';

const MAX_NAMED = 3;

export function watchAndReload(app: App, screen: Screen, loader: PluginLoader): Disposable {
  const onChange = async (plugin: string, directory: string, files: readonly string[]): Promise<void> => {
    const named = files.slice(0, MAX_NAMED).map((file) => relative(directory, file));
    if (files.length > MAX_NAMED) named.push(`${files.length - MAX_NAMED} more`);
    const report = await app.runtime.reload(plugin);
    for (const line of reloadText(report, named).split('\n')) screen.line(line);
  };
  const watching = loader.watch?.((found, files) => {
    const { plugin } = found.manifest;
    onChange(plugin, found.directory, files).catch((err: unknown) => {
      app.log.error({ plugin, err }, `${plugin} was not reloaded`);
    });
  });
  return { [Symbol.dispose]: () => watching?.[Symbol.dispose]() };
}

const OUTCOMES: Readonly<Record<ReloadReport['outcome'], string>> = {
  swapped: 'reloaded',
  'kept-old': 'not reloaded; the old code goes on',
  'rolled-back': 'not reloaded; the old code was set up again',
  failed: 'not reloaded, and the old code failed too',
};

export function reloadText(report: ReloadReport, files: readonly string[]): string {
  const restarted = report.restarted.length === 0 ? '' : `, with ${report.restarted.join(', ')}`;
  const head = `${report.plugin}: ${OUTCOMES[report.outcome]}${restarted} in ${Math.round(report.ms)} ms (${files.join(', ')})`;
  return report.error === undefined ? head : `${head}\n${errorText(report.error)}`;
}
