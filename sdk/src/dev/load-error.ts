// Failures of the bundler, put into words that name the place in the source.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { codeFrame, type Place } from './code-frame.ts';

/** An error with the message `file:line:column: why`; its stack shows the lines around the place, as Node does. */
export function sourceError(place: Place, why: string): Error {
  const { file, line, column } = place;
  const error = new SyntaxError(`${file}:${line}:${column}: ${why}`);
  // The calls of the bundler say nothing to the author of the plugin.
  error.stack = `${file}:${line}\n${codeFrame(place) ?? ''}\n\n${error.name}: ${error.message}`;
  return error;
}

/** What the bundler threw, as what the author of the plugin needs; anything else as it is. */
export function explainLoadError(error: unknown): unknown {
  if (!isRecord(error)) return error;
  const inner = Array.isArray(error.errors) ? (error.errors as unknown[]).find(isRecord) : undefined;
  const subject = inner ?? error;
  const place = placeOf(subject, error.id);
  if (place !== undefined) return sourceError(place, firstLine(subject));
  const code = error.code;
  if (code === 'ERR_LOAD_URL' || code === 'ERR_MODULE_NOT_FOUND') return explainMissing(error) ?? error;
  return error;
}

/** The module `specifier`, as the bundler names it, as `file` names it; the beginning of `file` when it does not. */
export function findImport(file: string, specifier: string): { readonly place: Place; readonly name: string } {
  const path = specifier.replace(/^\/@fs\//, '/');
  // What was found once is named by its path.
  const pattern = path.startsWith('/') ? `[^"'\`\\n]*/${RegExp.escape(basename(path))}` : RegExp.escape(path);
  const text = readText(file);
  const match = new RegExp(`(?<=["'\`])${pattern}(?=["'\`])`).exec(text);
  return { place: placeAt(file, text, match?.index ?? 0), name: match?.[0] ?? path };
}

/** Of the first occurrence of a word; the beginning of `file` when there is none. */
export function placeOfWord(file: string, word: string): Place {
  const text = readText(file);
  return placeAt(file, text, Math.max(0, text.search(new RegExp(`\\b${RegExp.escape(word)}\\b`))));
}

function placeAt(file: string, text: string, index: number): Place {
  const before = text.slice(0, index).split('\n');
  return { file, line: before.length, column: (before.at(-1) ?? '').length + 1 };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function placeOf(error: Readonly<Record<string, unknown>>, id: unknown): Place | undefined {
  const loc = error.loc;
  if (!isRecord(loc)) return undefined;
  const file = loc.file ?? id;
  const { line, column } = loc;
  if (typeof file !== 'string' || typeof line !== 'number' || typeof column !== 'number') return undefined;
  // The bundler counts columns from 0.
  return { file, line, column: column + 1 };
}

function firstLine(error: Readonly<Record<string, unknown>>): string {
  const text = stripVTControlCharacters(String(error.message));
  return text.replace(/^\[\w+\]\s*/, '').split('\n', 1)[0] ?? text;
}

function explainMissing(error: Readonly<Record<string, unknown>>): Error | undefined {
  const message = String(error.message);
  const match =
    /^Failed to load url (?<what>\S+) .*? in (?<from>.+?)\. Does the file exist\?$/.exec(message) ??
    /^Cannot find (?:module|package) '(?<what>[^']+)' imported from '?(?<from>[^']+)'?$/.exec(message);
  const { what, from } = match?.groups ?? {};
  if (what === undefined || from === undefined) return undefined;
  const { place, name } = findImport(from, what);
  return sourceError(place, `cannot find "${name}"`);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
