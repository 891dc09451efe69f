// What is read from the sources as text: doc comments and types, which are gone when the code runs.

import { globSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

export const ROOT: string = join(import.meta.dirname, '../..');

export interface SourceFile {
  /** Absolute. */
  readonly path: string;
  /** As it is imported: `@runtime/core`. */
  readonly package: string;
  readonly text: string;
}

const SOURCES = ['core/src/**/*.ts', 'sdk/src/**/*.ts', 'plugins/*/src/**/*.ts'];
/** Tests, and what others are to write. */
const NOT_OURS = /\.(?:test|check)\.ts$|\/test-programs\/|\/template(?:-device)?\//;

/** Sources of all packages, sorted by path. */
export function readSources(): readonly SourceFile[] {
  const paths = globSync(SOURCES, { cwd: ROOT }).filter((path) => !NOT_OURS.test(path));
  return paths.sort().map((path) => {
    const absolute = join(ROOT, path);
    return { path: absolute, package: packageOf(path), text: readFileSync(absolute, 'utf8') };
  });
}

function packageOf(path: string): string {
  const folder = path.slice(0, path.indexOf('/src/'));
  const { name } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as { readonly name: string };
  return name;
}

/** A link to the file from a page of docs/reference. */
export function linkTo(path: string): string {
  const fromRoot = relative(ROOT, path);
  return `[${fromRoot}](../../${fromRoot})`;
}

const PAIRS: Readonly<Record<string, string>> = { '{': '}', '(': ')', '[': ']', '<': '>' };
const CLOSING: ReadonlySet<string> = new Set(Object.values(PAIRS));

/**
 * The letters of the code from `from` on, each with how many brackets are open after it. Comments are left out, and an
 * arrow is no bracket; strings with brackets in them are not understood.
 */
function* letters(text: string, from: number): Generator<{ letter: string; at: number; depth: number }> {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    if (text.startsWith('/*', at)) at = text.indexOf('*/', at) + 2;
    const letter = text.charAt(at);
    if (letter in PAIRS) depth += 1;
    if (CLOSING.has(letter) && !text.startsWith('=>', at - 1)) depth -= 1;
    yield { letter, at, depth };
  }
}

/** The text between the bracket at `open` and the one that closes it. */
export function bracketed(text: string, open: number): string {
  for (const { at, depth } of letters(text, open)) if (depth === 0) return text.slice(open + 1, at);
  throw new Error(`nothing closes "${text.slice(open, open + 40)}…"`);
}

/** Splits at `separator` outside of brackets and comments. */
export function splitOutside(text: string, separator: string): readonly string[] {
  const parts: string[] = [];
  let from = 0;
  for (const { letter, at, depth } of letters(text, 0)) {
    if (depth > 0 || letter !== separator) continue;
    parts.push(text.slice(from, at));
    from = at + 1;
  }
  return [...parts, text.slice(from)].map((part) => part.trim()).filter((part) => part !== '');
}

/** The words of the doc comment that ends right before `at`, as Markdown; `undefined` when there is none. */
export function docBefore(text: string, at: number): string | undefined {
  const before = text.slice(0, at).trimEnd();
  if (!before.endsWith('*/')) return undefined;
  const from = before.lastIndexOf('/**');
  return from === -1 ? undefined : words(before.slice(from));
}

function words(comment: string): string {
  const lines = comment
    .replace(/^\/\*\*/, '')
    .replace(/\*\/$/, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trim());
  return lines
    .join('\n')
    .trim()
    .replaceAll(/(?<!\n)\n(?!\n|[-|])/g, ' ');
}

/** Doc comment and declaration of one member of an interface. */
export function splitMember(member: string): { readonly doc: string | undefined; readonly code: string } {
  const comment = /^\/\*\*[\s\S]*?\*\//.exec(member);
  if (comment === null) return { doc: undefined, code: member };
  return { doc: words(comment[0]), code: member.slice(comment[0].length).trim() };
}

/** Takes away the indentation that all lines but the first share. */
export function outdent(code: string): string {
  const [first = '', ...rest] = code.split('\n');
  const depths = rest.filter((line) => line.trim() !== '').map((line) => line.search(/\S/));
  const shared = depths.length === 0 ? 0 : Math.min(...depths);
  return [first, ...rest.map((line) => line.slice(shared))].join('\n');
}
