// A logger that keeps what it is told.

import type { Logger, LogLevel } from '@runtime/core';

type RecordedLevel = Exclude<LogLevel, 'silent'>;

export interface LogRecord {
  readonly level: RecordedLevel;
  readonly message: string;
  /** With those of the child loggers it came through. */
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface FakeLogger extends Logger {
  /** Oldest first; the last 10,000. Shared with the child loggers. */
  readonly records: readonly LogRecord[];
  /** Messages of one level, or of all. */
  messages(level?: RecordedLevel): readonly string[];
}

const MAX_RECORDS = 10_000;

export function fakeLogger(): FakeLogger {
  const records: LogRecord[] = [];
  const messages = (level?: RecordedLevel): readonly string[] =>
    records.filter((record) => level === undefined || record.level === level).map(({ message }) => message);
  const make = (inherited: object): FakeLogger => {
    const at =
      (level: RecordedLevel) =>
      (first: object | string, second?: string): void => {
        const [fields, message] = typeof first === 'string' ? [{}, first] : [first, second ?? ''];
        records.push({ level, message, fields: { ...inherited, ...fields } });
        if (records.length > MAX_RECORDS) records.shift();
      };
    return {
      records,
      messages,
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (fields) => make({ ...inherited, ...fields }),
    };
  };
  return make({});
}
