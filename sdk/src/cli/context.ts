// What every command of the command line gets.

import type { Format } from './format.ts';
import type { Terminal } from './terminal.ts';
import type { Environment } from './xdg.ts';

export interface GlobalValues {
  readonly plugins: readonly string[] | undefined;
  readonly config: string | undefined;
  readonly set: readonly string[];
  readonly isolation: readonly string[];
  readonly logLevel: string | undefined;
  readonly name: string | undefined;
  readonly format: Format;
  readonly debug: boolean;
}

export interface CliContext {
  readonly env: Environment;
  readonly cwd: string;
  readonly globals: GlobalValues;
  readonly terminal: Terminal;
  /** Options that stood behind the name of a plugin's command: how an error is printed. */
  readonly reportAs: (globals: Pick<GlobalValues, 'format' | 'debug'>) => void;
  /** Aborted at the first SIGINT, SIGTERM or SIGHUP, unless the command has taken the signals over. */
  readonly signal: AbortSignal;
}
