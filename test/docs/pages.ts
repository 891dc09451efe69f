// The pages of this repository, for the tests that hold them to what they promise.

import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT: string = join(import.meta.dirname, '../..');

export interface Page {
  /** Relative to the root. */
  readonly path: string;
  readonly text: string;
}

export const PAGES: readonly Page[] = globSync(
  ['README.md', 'docs/**/*.md', 'examples/*/*.md', 'core/*.md', 'sdk/*.md', 'plugins/*/*.md'],
  { cwd: ROOT },
)
  .sort()
  .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));

export interface Block {
  readonly language: string;
  /** What follows the language: a path from the root means that the block is that file. */
  readonly info: string;
  readonly code: string;
  /** Of the first line of the code, from 1. */
  readonly line: number;
}

export function blocksOf({ text }: Page): readonly Block[] {
  return [...text.matchAll(/^```(\w+)?[ \t]*(.*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[1] ?? '',
    info: (match[2] ?? '').trim(),
    code: match[3] ?? '',
    line: text.slice(0, match.index).split('\n').length + 1,
  }));
}

/** Without code, in which brackets mean something else. */
export function proseOf({ text }: Page): string {
  return text.replaceAll(/^```[\s\S]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '');
}
