// The lines around a place in a source file, for people.

import { readFileSync } from 'node:fs';

export interface Place {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

/** Lines shown before and after. */
const AROUND = 2;
/** Longer lines are cut: minified code would fill the screen. */
const MAX_WIDTH = 160;

/** `undefined` when the file cannot be read or has no such line. */
export function codeFrame({ file, line, column }: Place): string | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  const lines = text.split(/\r?\n/);
  if (line < 1 || line > lines.length) return undefined;
  const first = Math.max(1, line - AROUND);
  const last = Math.min(lines.length, line + AROUND);
  const gutter = String(last).length;
  const out: string[] = [];
  for (let n = first; n <= last; n++) {
    const code = (lines[n - 1] ?? '').slice(0, MAX_WIDTH);
    out.push(`${n === line ? '>' : ' '} ${String(n).padStart(gutter)} | ${code}`);
    if (n === line && column <= MAX_WIDTH) {
      // Tabs stay tabs, so that the mark stands under its letter.
      const indent = code.slice(0, column - 1).replace(/[^\t]/g, ' ');
      out.push(`  ${' '.repeat(gutter)} | ${indent}^`);
    }
  }
  return out.join('\n');
}
