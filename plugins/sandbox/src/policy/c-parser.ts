// The dialect of `minijail0 -S`: `name: 1`, `name: return ERRNO`, `name: expression`, `name: expression; return ERRNO`,
// where the error is for calls of which the expression is not true. Where minijail overlooks what makes no sense (words
// after an error number, a third part after a second semicolon), it is refused here.

import { resolve } from 'node:path';
import type { Action } from './actions.ts';
import { fit, parseNumber } from './numbers.ts';
import type { ParseOptions } from './parse.ts';
import { ARGUMENTS, type Atom, type Clause, type Filter, type Operator, type Policy, type Position } from './policy.ts';
import { RuleTable, whereIs } from './rules.ts';
import { Budget, LIMITS, mapPath, policyError } from './source.ts';
import { suggest } from './suggest.ts';
import type { Tables } from './tables.ts';

const OPERATORS: readonly string[] = ['==', '!=', '<', '<=', '>', '>=', '&', 'in'] satisfies readonly Operator[];
/** The file itself, and those that it includes. */
const MAX_DEPTH = 2;

/** A part of the policy, and where it stands. */
interface Piece {
  readonly text: string;
  readonly at: Position;
}

export function parseC(file: string, options: ParseOptions): Policy {
  return new CParser(options).parse(file);
}

class CParser {
  readonly #options: ParseOptions;
  readonly #tables: Tables;
  readonly #default: Action;
  readonly #budget = new Budget();
  readonly #rules = new RuleTable();
  readonly #warnings: { readonly at: Position; readonly text: string }[] = [];

  constructor(options: ParseOptions) {
    this.#options = options;
    this.#tables = options.tables;
    this.#default = { kind: options.kill ?? 'kill-thread' };
  }

  parse(file: string): Policy {
    this.#readFile(file, 1, undefined);
    return {
      ...{ file, dialect: 'c', tables: this.#tables, defaultAction: this.#default, defaultAt: undefined },
      ...{ foreignAction: { kind: 'kill-thread' }, warnings: this.#warnings, rules: this.#rules.finish(new Map()) },
    };
  }

  #readFile(file: string, depth: number, from: Position | undefined): void {
    for (const line of logicalLines(this.#budget.read(file, from), file, (at) => this.#budget.line(at))) {
      if (line.text === '' || line.text.startsWith('#')) continue;
      if (line.text.startsWith('@frequency')) continue;
      if (line.text.startsWith('@')) this.#include(line, depth);
      else this.#rule(line);
    }
  }

  #include({ text, at }: Piece, depth: number): void {
    if (!text.startsWith('@include ')) throw policyError(at, `"${text}" is not known: @include and @frequency are`);
    if (depth >= MAX_DEPTH) throw policyError(at, 'an included file cannot include others in this dialect');
    const path = mapPath(text.slice('@include '.length), this.#options.map ?? []);
    const pathAt = { ...at, column: at.column + '@include '.length };
    if (!/^\.?\//.test(path)) throw policyError(pathAt, `the path must begin with / or ./, as in ./${path.trim()}`);
    this.#readFile(resolve(this.#options.cwd ?? '.', path), depth + 1, pathAt);
  }

  #rule(line: Piece): void {
    const colon = line.text.indexOf(':');
    if (colon === -1) throw policyError(line.at, 'a colon must follow the name of the system call');
    const { text: name, at } = trimmed(line, 0, colon);
    const filter = trimmed(line, colon + 1, line.text.length);
    if (filter.text === '') throw policyError(filter.at, 'an action or a condition must follow the colon');
    const number = this.#tables.syscalls.get(name);
    if (number === undefined) {
      const why = `${this.#tables.architecture} has no system call "${name}"`;
      // As minijail does when it only logs: the line may be one for another architecture.
      if (this.#options.kill === 'log') return void this.#warnings.push({ at, text: `${why}: the line is left out` });
      throw policyError(at, why, suggest(name, this.#tables.syscalls.keys()));
    }
    const first = this.#rules.firstLine(number);
    if (first !== undefined && this.#options.duplicates !== true) {
      throw policyError(at, `${name} has a line already, ${whereIs(first, at)}`);
    }
    this.#rules.add(name, number, this.#filters(filter));
  }

  #filters(filter: Piece): readonly Filter[] {
    if (filter.text === '1') return [{ condition: undefined, action: { kind: 'allow' }, at: filter.at }];
    if (filter.text.startsWith('return')) return [this.#return(filter)];
    const [condition, otherwise, more] = split(filter, ';');
    if (more !== undefined) throw policyError(more.at, 'nothing can follow the second part');
    const first: Filter = { condition: this.#condition(condition as Piece), action: { kind: 'allow' }, at: filter.at };
    return otherwise === undefined ? [first] : [first, this.#return(otherwise)];
  }

  #return(piece: Piece): Filter {
    const [word, value, more] = words(piece);
    if (word?.text !== 'return') throw policyError(word?.at ?? piece.at, '"return" must follow');
    if (more !== undefined) throw policyError(more.at, `"${more.text}" follows the error number`);
    if (value === undefined) {
      if (this.#default.kind === 'log')
        throw policyError(piece.at, '"return" needs an error number when calls are logged');
      return { condition: undefined, action: this.#default, at: piece.at };
    }
    const number = this.#value(value, 0);
    if (Number(BigInt.asIntN(32, number)) === -1) throw policyError(value.at, '-1 is no error number');
    return { condition: undefined, action: { kind: 'errno', errno: Number(number & 0xffffn) }, at: piece.at };
  }

  #condition(piece: Piece): readonly Clause[] {
    return split(piece, '||').map((clause) => split(clause, '&&').map((atom) => this.#atom(atom)));
  }

  #atom(piece: Piece): Atom {
    const [argument, operator, value, more] = words(piece);
    if (argument === undefined) throw policyError(piece.at, 'a comparison must follow');
    const digits = /^arg([0-9]{1,9})$/.exec(argument.text)?.[1];
    if (digits === undefined) throw policyError(argument.at, `"${argument.text}" is no argument: arg0 to arg5 are`);
    if (Number(digits) >= ARGUMENTS) {
      throw policyError(argument.at, `${argument.text} is none: a system call has arg0 to arg${ARGUMENTS - 1}`);
    }
    if (operator === undefined || !OPERATORS.includes(operator.text)) {
      throw policyError(operator?.at ?? piece.at, `one of ${OPERATORS.join(' ')} must follow ${argument.text}`);
    }
    if (value === undefined) throw policyError(operator.at, `a value must follow ${operator.text}`);
    if (more !== undefined) throw policyError(more.at, `"${more.text}" follows the value, which cannot have spaces`);
    this.#budget.atom(argument.at);
    return { argument: Number(digits), operator: operator.text as Operator, value: this.#value(value, 0) };
  }

  /** Constants joined by |, without spaces. */
  #value(piece: Piece, depth: number): bigint {
    if (depth > LIMITS.depth) throw policyError(piece.at, `brackets are nested deeper than ${LIMITS.depth}`);
    const { bits } = this.#tables;
    let value = 0n;
    for (let offset = 0; ; ) {
      const negated = piece.text[offset] === '~';
      if (negated) offset++;
      const end = piece.text[offset] === '(' ? closing(piece, offset) : endOfName(piece.text, offset);
      const inBrackets = piece.text[offset] === '(';
      const part = inBrackets
        ? this.#value(sub(piece, offset + 1, end - 1), depth + 1)
        : this.#constant(sub(piece, offset, end));
      value |= negated ? BigInt.asUintN(bits, ~part) : part;
      if (end === piece.text.length) return value;
      if (piece.text[end] !== '|') throw policyError(sub(piece, end, end).at, '"|" must join two constants');
      offset = end + 1;
    }
  }

  #constant({ text, at }: Piece): bigint {
    const { bits, constants } = this.#tables;
    const named = constants.get(text);
    const value = named === undefined ? parseNumber(text, bits, false) : fit(named, bits);
    if (typeof value === 'bigint') return value;
    if (text === '') throw policyError(at, 'a constant must follow');
    if (value !== 'not a number') throw policyError(at, `"${text}" is ${value} for ${bits} bits`);
    throw policyError(at, `there is no constant "${text}"`, suggest(text, constants.keys()));
  }
}

/**
 * Lines, those that end in a backslash joined with the next by a space, comments too; without blanks around them. A piece
 * of a joined line is told to be where its first line is, at the column that it has in the whole.
 */
function* logicalLines(text: string, file: string, onLine: (at: Position) => void): Generator<Piece> {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  for (let index = 0; index < lines.length; index++) {
    const at: Position = { file, line: index + 1, column: 1 };
    onLine(at);
    const parts: string[] = [];
    let line = lines[index] as string;
    while (line.endsWith('\\')) {
      parts.push(line.slice(0, -1));
      const next = lines[++index];
      // minijail drops such a line without a word.
      if (next === undefined) throw policyError(at, 'the file ends in the middle of a line');
      onLine({ file, line: index + 1, column: 1 });
      line = next;
    }
    const whole = [...parts, line].join(' ');
    yield trimmed({ text: whole, at }, 0, whole.length);
  }
}

function sub({ text, at }: Piece, start: number, end: number): Piece {
  return { text: text.slice(start, end), at: { ...at, column: at.column + start } };
}

/** Without the spaces and tabs around it. */
function trimmed(piece: Piece, start: number, end: number): Piece {
  const { text } = sub(piece, start, end);
  const blanks = /^[ \t]*/.exec(text)?.[0].length ?? 0;
  return sub(piece, start + blanks, start + Math.max(text.trimEnd().length, blanks));
}

function split(piece: Piece, separator: string): readonly Piece[] {
  let offset = 0;
  return piece.text.split(separator).map((part) => {
    const start = offset;
    offset += part.length + separator.length;
    return sub(piece, start, start + part.length);
  });
}

/** Only spaces are between words in this dialect. */
function words(piece: Piece): readonly Piece[] {
  return Array.from(piece.text.matchAll(/[^ ]+/g), ({ 0: word, index }) => sub(piece, index, index + word.length));
}

function endOfName(text: string, start: number): number {
  const bar = text.indexOf('|', start);
  return bar === -1 ? text.length : bar;
}

/** After the bracket that belongs to the one at `start`. */
function closing(piece: Piece, start: number): number {
  let open = 0;
  for (let offset = start; offset < piece.text.length; offset++) {
    if (piece.text[offset] === '(') open++;
    if (piece.text[offset] === ')' && --open === 0) return offset + 1;
  }
  throw policyError(sub(piece, start, start).at, 'this bracket is never closed');
}
