// Errors as people read them, and as programs do.

import { type ErrorRecord, isRuntimeError, toErrorRecord } from '@runtime/core';
import { toJson } from './format.ts';
import { noPaint, type Paint, printable } from './terminal.ts';

const MAX_DEPTH = 8;
const MAX_LISTED = 50;

export interface ErrorTextOptions {
  readonly paint?: Paint;
  /** With stacks. */
  readonly debug?: boolean;
}

/** Message, remedy, and causes indented; without a trailing line feed. */
export function errorText(error: unknown, options: ErrorTextOptions = {}): string {
  return lines(error, options, 0).join('\n');
}

/** One line of JSON: `{ "error": { code, message, remedy, cause, … } }` */
export function errorJson(error: unknown): string {
  const record: ErrorRecord = toErrorRecord(error);
  return toJson({ error: record });
}

/** 1 unless the error names another; of several the largest. */
export function exitCodeOf(error: unknown): number {
  if (isRuntimeError(error)) return error.exit;
  if (error instanceof AggregateError) return Math.max(1, ...error.errors.map(exitCodeOf));
  return 1;
}

function lines(error: unknown, options: ErrorTextOptions, depth: number): string[] {
  const paint = options.paint ?? noPaint;
  const head = headOf(error, paint);
  if (!(error instanceof Error) && !isRuntimeError(error)) return [head];
  const out = [head];
  const remedy = isRuntimeError(error) ? error.remedy : '';
  if (remedy !== '') out.push(`  ${paint('cyan', '→')} ${printable(remedy)}`);
  out.push(...location(error, options).map((line) => paint('dim', `    ${line}`)));
  if (depth >= MAX_DEPTH) return out;
  const inner = causesOf(error);
  for (const [i, cause] of inner.slice(0, MAX_LISTED).entries()) {
    const mark = inner.length > 1 ? `${i + 1}. ` : 'because: ';
    const [first = '', ...rest] = lines(cause, options, depth + 1);
    const space = ' '.repeat(inner.length > 1 ? mark.length : 0);
    out.push(`  ${paint('dim', mark)}${first}`, ...rest.map((line) => `  ${space}${line}`));
  }
  if (inner.length > MAX_LISTED) out.push(`  … and ${inner.length - MAX_LISTED} more`);
  return out;
}

function headOf(error: unknown, paint: Paint): string {
  if (isRuntimeError(error)) return `${printable(error.message)} ${paint('dim', `[${error.code}]`)}`;
  if (!(error instanceof Error)) return printable(String(error));
  if (error instanceof AggregateError) return printable(error.message);
  const { code } = error as NodeJS.ErrnoException;
  const name = typeof code === 'string' ? code : error.name === 'Error' ? undefined : error.name;
  return printable(error.message) + (name === undefined ? '' : ` ${paint('dim', `[${name}]`)}`);
}

/** An AggregateError that is only there to carry several is left out, as is a cause of which all has been said. */
function causesOf(error: Error): readonly unknown[] {
  if (error instanceof AggregateError) return error.errors;
  const { cause } = error;
  if (cause instanceof AggregateError) return cause.errors;
  if (cause === undefined) return [];
  return cause instanceof Error && repeats(error, cause) ? causesOf(cause) : [cause];
}

function repeats(error: Error, cause: Error): boolean {
  const remedyOf = (e: Error): string => (isRuntimeError(e) ? e.remedy : '');
  return error.message.endsWith(`: ${cause.message}`) && remedyOf(error) === remedyOf(cause);
}

/** Where in somebody's code it happened: the excerpt of a syntax error, or the first frame that is neither Node's nor ours. */
function location(error: Error, { debug }: ErrorTextOptions): readonly string[] {
  const stack = typeof error.stack === 'string' ? error.stack.split('\n') : [];
  const frames = stack.filter((line) => /^\s+at /.test(line)).map((line) => line.trim());
  if (debug === true) return frames;
  // Several in one: each of them says where.
  if (isRuntimeError(error) || error instanceof AggregateError) return [];
  const firstLine = stack[0] ?? '';
  if (/^(?:file:\/\/)?\/.*:\d+$/.test(firstLine)) {
    const end = stack.findIndex((line) => line.includes(error.message.split('\n')[0] ?? ''));
    return stack.slice(0, end < 0 ? 4 : end).filter((line) => line.trim() !== '');
  }
  const frame = frames.find((line) => !line.includes('node:') && !OWN.test(line));
  return frame === undefined ? [] : [frame];
}

/** Frames of core and sdk, in a checkout and installed. */
const OWN = /\/(?:core|sdk)\/(?:src|dist|bin)\/|\/node_modules\//;
