// Development: a changed file reloads the plugin it belongs to.

import { relative } from 'node:path';
import type { PluginLoader } from '@runtime/core';
import type { App } from './app.ts';
import { errorText } from './error-text.ts';
import { sourceText } from './log-line.ts';
import type { Screen } from './screen.ts';

const MAX_NAMED = 3;

export function watchAndReload(app: App, screen: Screen, loader: PluginLoader): Disposable {
  const onChange = async (plugin: string, directory: string, files: readonly string[]): Promise<void> => {
    const named = files.slice(0, MAX_NAMED).map((file) => relative(directory, file));
    if (files.length > MAX_NAMED) named.push(`${files.length - MAX_NAMED} more`);
    screen.line(`${sourceText(plugin)}changed: ${named.join(', ')}`);
    // The runtime itself logs how it went; why it did not is told here at length.
    const { error } = await app.runtime.reload(plugin);
    if (error !== undefined) screen.line(errorText(error));
  };
  const watching = loader.watch?.((found, files) => {
    const { plugin } = found.manifest;
    onChange(plugin, found.directory, files).catch((err: unknown) => {
      app.log.error({ plugin, err }, `${plugin} was not reloaded`);
    });
  });
  return { [Symbol.dispose]: () => watching?.[Symbol.dispose]() };
}
