// The log of a plugin in its own process: written by the runtime, in its order.

import type { Logger, LogLevel } from '../logging.ts';
import { encodeValue } from '../wire/value.ts';
import type { RemoteLink } from './remote-link.ts';

export function createRemoteLog(link: RemoteLink, bound: object = {}): Logger {
  const write = (level: Exclude<LogLevel, 'silent'>, first: object | string, second: string | undefined): void => {
    const [fields, message] = typeof first === 'string' ? [{}, first] : [first, second ?? ''];
    link.tell('log', level, sendable({ ...bound, ...fields }), message);
  };
  return {
    debug: (fields: object | string, message?: string) => write('debug', fields, message),
    info: (fields: object | string, message?: string) => write('info', fields, message),
    warn: (fields: object | string, message?: string) => write('warn', fields, message),
    error: (fields: object | string, message?: string) => write('error', fields, message),
    child: (fields) => createRemoteLog(link, { ...bound, ...fields }),
  };
}

/** Logging never fails: what cannot cross is replaced by the text of it. */
function sendable(fields: object): Readonly<Record<string, unknown>> {
  const entries = Object.entries(fields).map(([key, value]): [string, unknown] => {
    try {
      encodeValue(value);
      return [key, value];
    } catch {
      return [key, Object.prototype.toString.call(value)];
    }
  });
  return Object.fromEntries(entries);
}
