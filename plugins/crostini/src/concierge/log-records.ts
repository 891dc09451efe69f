// What is kept of all that VMs say: lines with their time, their source and how urgent they are.

import { z } from 'zod';

export const LOG_SOURCES = ['console', 'kernel', 'user', 'crash'] as const;
/** `console`: its serial port; `kernel`: printk; `user`: maitred and the programs it started; `crash`: what ended. */
export type LogSource = (typeof LOG_SOURCES)[number];

/** Of syslog(3), most urgent first. */
export const LOG_PRIORITIES = [
  ...(['emergency', 'alert', 'critical', 'error'] as const),
  ...(['warning', 'notice', 'info', 'debug'] as const),
] as const;
export type LogPriority = (typeof LOG_PRIORITIES)[number];

export interface LogRecord {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly source: LogSource;
  readonly priority: LogPriority;
  /** One line, as the guest wrote it: escapeText() before it is shown. */
  readonly text: string;
}

/** Bytes of one line; the rest of a longer one is left out. */
export const MAX_LINE = 4096;

const lineSchema = z.strictObject({
  t: z.number().min(0).max(8.64e15),
  s: z.enum(LOG_SOURCES),
  p: z.enum(LOG_PRIORITIES),
  m: z.string(),
});

/** As it lies in a file: JSON, and a line feed. */
export function encodeRecord({ time, source, priority, text }: LogRecord): string {
  return `${JSON.stringify({ t: time, s: source, p: priority, m: text })}\n`;
}

/** `undefined` for what encodeRecord() does not make, such as half of a line. */
export function decodeRecord(line: string): LogRecord | undefined {
  try {
    const { t, s, p, m } = lineSchema.parse(JSON.parse(line));
    return { time: t, source: s, priority: p, text: m };
  } catch {
    return undefined;
  }
}

/** The lines of what a guest has sent, without those that are empty. */
export function linesOf(bytes: Uint8Array): readonly string[] {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    .toString('utf8')
    .split(/\r*\n|\r+/)
    .map(shorten)
    .filter((line) => line !== '');
}

function shorten(line: string): string {
  const bytes = Buffer.from(line.trimEnd());
  if (bytes.length <= MAX_LINE) return line.trimEnd();
  return `${bytes
    .subarray(0, MAX_LINE)
    .toString('utf8')
    .replace(/\ufffd+$/, '')}…`;
}

/** Of terminals: colours and the like. */
export function withoutColours(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is removed
  return text.replaceAll(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, '');
}

/** Nothing of it moves the cursor, hides, or turns round what follows: such characters are shown as `\x1b`, `\u{202e}`. */
export function escapeText(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (letter) => {
    const code = letter.codePointAt(0) ?? 0;
    if (letter === '\t') return letter;
    const hex = code.toString(16);
    return code <= 0xff ? `\\x${hex.padStart(2, '0')}` : `\\u{${hex}}`;
  });
}
