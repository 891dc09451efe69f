// A logger for tests: keeps what was logged instead of printing it.

import type { Logger } from '../logging.ts';

export interface LogLine {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export function quietLog(): Logger & { readonly lines: readonly LogLine[] } {
  const lines: LogLine[] = [];
  const write =
    (level: string) =>
    (fields: object | string, message?: string): void => {
      const isText = typeof fields === 'string';
      lines.push({ level, fields: isText ? {} : { ...fields }, message: isText ? fields : (message ?? '') });
    };
  const log = {
    lines,
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: () => log,
  };
  return log;
}
