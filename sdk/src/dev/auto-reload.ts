// Reloads plugins whose files change, and tells how it went.

import { type FoundPlugin, isRuntimeError, type PluginLoader, type ReloadReport, type Runtime } from '@runtime/core';
import { errorText } from '../cli/error-text.ts';
import { noPaint, type Paint } from '../cli/terminal.ts';
import { codeFrame, type Place } from './code-frame.ts';

export interface AutoReloadOptions {
  readonly runtime: Pick<Runtime, 'reload'>;
  readonly loader: Required<Pick<PluginLoader, 'watch'>>;
  /** One report, of one line or more. */
  readonly print: (text: string) => void;
  readonly paint?: Paint;
}

/** Until it is disposed, every change of a plugin's files reloads it. */
export function autoReload({ runtime, loader, print, paint = noPaint }: AutoReloadOptions): Disposable {
  const reload = async (found: FoundPlugin, files: readonly string[]): Promise<void> => {
    const { plugin } = found.manifest;
    try {
      print(describeReload(await runtime.reload(plugin), found.directory, files, paint));
    } catch (error) {
      // The runtime is stopping, or does not know the plugin any more.
      print(`${plugin} was not reloaded: ${errorText(error, { paint })}`);
    }
  };
  return loader.watch((found, files) => void reload(found, files));
}

const OUTCOMES: Readonly<Record<ReloadReport['outcome'], string>> = {
  swapped: 'reloaded',
  'kept-old': 'was not reloaded; the old code goes on',
  'rolled-back': 'failed with the new code; the old code is back',
  failed: 'failed with the new code, and with the old code after it; it is down',
};

/** `hello reloaded in 12 ms (src/index.ts)`, then what went wrong and where in the source. */
export function describeReload(
  report: ReloadReport,
  directory: string,
  files: readonly string[],
  paint: Paint = noPaint,
): string {
  const { plugin, outcome, restarted, ms, error } = report;
  const changed = files.map((file) => relativeTo(directory, file)).join(', ');
  const also = restarted.length > 0 ? `, and with it ${restarted.join(', ')},` : '';
  const colour = outcome === 'swapped' ? 'green' : 'red';
  const head = `${paint(colour, plugin)}${also} ${OUTCOMES[outcome]} in ${Math.round(ms)} ms (${changed})`;
  if (error === undefined) return head;
  const place = placeIn(directory, error);
  const frame = place === undefined ? undefined : codeFrame(place);
  return [head, indent(errorText(error, { paint })), ...(frame === undefined ? [] : [indent(frame)])].join('\n');
}

function relativeTo(directory: string, file: string): string {
  return file.startsWith(`${directory}/`) ? file.slice(directory.length + 1) : file;
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}

const MAX_CAUSES = 8;

/** Where in the plugin the innermost error was thrown. */
function placeIn(directory: string, error: unknown): Place | undefined {
  let place: Place | undefined;
  let inner = error;
  for (let depth = 0; depth < MAX_CAUSES && inner instanceof Error; depth++) {
    if (!isRuntimeError(inner)) place = frameIn(directory, inner.stack ?? '') ?? place;
    inner = inner.cause;
  }
  return place;
}

function frameIn(directory: string, stack: string): Place | undefined {
  for (const match of stack.matchAll(/^\s+at .*?\(?(\/[^()]*):(\d+):(\d+)\)?$/gm)) {
    const [, file = '', line, column] = match;
    if (!file.startsWith(`${directory}/`) || file.includes('/node_modules/')) continue;
    return { file, line: Number(line), column: Number(column) };
  }
  return undefined;
}
