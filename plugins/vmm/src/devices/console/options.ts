// What a console device can be told.

import { checkedOptions, wholeNumber } from '../checked-options.ts';

export interface ConsoleOptions {
  /** Of the terminal, in characters; 0: not known. */
  readonly columns: number;
  readonly rows: number;
}

export const MAX_SIZE = 65_535;

export const consoleOptions = checkedOptions<ConsoleOptions>(
  'console',
  { columns: wholeNumber(0, MAX_SIZE), rows: wholeNumber(0, MAX_SIZE) },
  { columns: 0, rows: 0 },
);
