// The words of the dialect of compile_seccomp_policy.py.

import type { Position } from './policy.ts';
import { policyError } from './source.ts';

export type TokenKind =
  | ('default' | 'include' | 'frequency' | 'denylist' | 'path' | 'number' | 'argument' | 'return' | 'action' | 'name')
  | (':' | ';' | ',' | '~' | '(' | ')' | '{' | '}' | '[' | ']' | '||' | '&&' | '|' | 'operator' | '=');

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly at: Position;
}

/** The first that fits is taken, so the order matters: `kill` is an action before it is a name, `in` an operator. */
const WORDS: readonly (readonly [TokenKind | 'nothing', RegExp])[] = [
  ['nothing', /#.*$|\s+|\\$/y],
  ['default', /@default\b/y],
  ['include', /@include\b/y],
  ['frequency', /@frequency\b/y],
  ['denylist', /@denylist$/y],
  ['path', /\.?\/\S+/y],
  ['number', /-?0[xX][0-9a-fA-F]+|-?0[0-7]+|-?[0-9]+/y],
  [':', /:/y],
  [';', /;/y],
  [',', /,/y],
  ['~', /~/y],
  ['(', /\(/y],
  [')', /\)/y],
  ['{', /\{/y],
  ['}', /\}/y],
  [']', /\]/y],
  ['[', /\[/y],
  ['||', /\|\|/y],
  ['&&', /&&/y],
  ['|', /\|/y],
  ['operator', /&|\bin\b|==|!=|<=|<|>=|>/y],
  ['=', /=/y],
  ['argument', /\barg[0-9]+\b/y],
  ['return', /\breturn\b/y],
  ['action', /\b(?:allow|kill-process|kill-thread|kill|trap|trace|log|user-notify)\b/y],
  ['name', /[a-zA-Z_][a-zA-Z_0-9@-]*/y],
];

/**
 * One array for each statement. A line that ends in a backslash goes on in the next one, also one that is a comment.
 * @param onLine called for each line, and may throw
 */
export function* statements(text: string, file: string, onLine: (at: Position) => void): Generator<readonly Token[]> {
  let tokens: Token[] = [];
  let goesOn: Position | undefined;
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  for (const [index, raw] of lines.entries()) {
    const line = raw.replace(/\r+$/, '');
    const start: Position = { file, line: index + 1, column: 1 };
    onLine(start);
    for (let offset = 0; offset < line.length; ) {
      const [kind, word] = wordAt(line, offset);
      const at = { ...start, column: offset + 1 };
      if (kind === undefined) throw policyError(at, `"${line.slice(offset, offset + 16)}" cannot be understood`);
      if (kind !== 'nothing') tokens.push({ kind, text: word, at });
      offset += word.length;
    }
    goesOn = line.endsWith('\\') ? { ...start, column: line.length } : undefined;
    if (goesOn !== undefined) continue;
    if (tokens.length > 0) yield tokens;
    tokens = [];
  }
  // minijail drops the statement without a word.
  if (goesOn !== undefined && tokens.length > 0) throw policyError(goesOn, 'the file ends in the middle of a line');
}

function wordAt(line: string, offset: number): readonly [TokenKind | 'nothing' | undefined, string] {
  for (const [kind, pattern] of WORDS) {
    pattern.lastIndex = offset;
    const word = pattern.exec(line)?.[0];
    if (word !== undefined && word !== '') return [kind, word];
  }
  return [undefined, ''];
}
