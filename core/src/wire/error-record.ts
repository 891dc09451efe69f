// Error records as they come from another process: checked, then an error again.

import { type ErrorRecord, fromErrorRecord } from '../errors.ts';

const MAX_DEPTH = 16;
const MAX_ERRORS = 32;
const MAX_CODE = 128;

const STRINGS: readonly (keyof ErrorRecord)[] = ['message', 'remedy', 'plugin'];
const INTEGERS: readonly (keyof ErrorRecord)[] = ['grpc', 'exit'];
const KNOWN: ReadonlySet<string> = new Set<keyof ErrorRecord>([
  'code',
  'message',
  'remedy',
  'plugin',
  'grpc',
  'exit',
  'retryable',
  'cause',
  'errors',
]);

/** `undefined` when `value` is not an error record. */
export function parseErrorRecord(value: unknown): ErrorRecord | undefined {
  return isErrorRecord(value, 0) ? value : undefined;
}

/** `undefined` when `value` is not an error record. */
export function decodeErrorRecord(value: unknown): Error | undefined {
  const record = parseErrorRecord(value);
  return record === undefined ? undefined : fromErrorRecord(record);
}

function isErrorRecord(value: unknown, depth: number): value is ErrorRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || depth > MAX_DEPTH) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  if (!Object.keys(fields).every((key) => KNOWN.has(key))) return false;
  const { code, message, retryable, cause, errors } = fields;
  if (typeof code !== 'string' || code.length > MAX_CODE || typeof message !== 'string') return false;
  if (STRINGS.some((key) => fields[key] !== undefined && typeof fields[key] !== 'string')) return false;
  if (INTEGERS.some((key) => fields[key] !== undefined && !Number.isInteger(fields[key]))) return false;
  if (retryable !== undefined && typeof retryable !== 'boolean') return false;
  if (cause !== undefined && !isErrorRecord(cause, depth + 1)) return false;
  if (errors === undefined) return true;
  return Array.isArray(errors) && errors.length <= MAX_ERRORS && errors.every((e) => isErrorRecord(e, depth + 1));
}
