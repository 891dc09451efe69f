// The dialect of compile_seccomp_policy.py: `name: filter`, `{a, b}: filter`, `name[arch=…]: { filter, … }`, @include,
// @frequency, @default, @denylist. `expression; action` is the action where the expression is true.

import { dirname, join, normalize } from 'node:path';
import { didYouMean } from '@runtime/sdk';
import type { Action } from './actions.ts';
import { fit, parseNumber } from './numbers.ts';
import type { ParseOptions } from './parse.ts';
import { ARGUMENTS, type Atom, type Clause, type Filter, type Operator, type Policy, type Position } from './policy.ts';
import { statements, type Token, type TokenKind } from './python-tokens.ts';
import { RuleTable, warnOfLostFilters } from './rules.ts';
import { Budget, LIMITS, mapPath, policyError } from './source.ts';
import { suggest } from './suggest.ts';
import { namesOfArchitecture, type Tables } from './tables.ts';

/** What must follow, in words. */
const NAMES: Partial<Record<TokenKind, string>> = {
  name: 'a name',
  number: 'a number',
  path: 'a path that begins with / or ./',
  operator: 'one of == != < <= > >= & in',
  argument: 'arg0 to arg5',
};

/** The words of one statement, in order. */
class Reader {
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get at(): Position {
    const token = this.#tokens[this.#next];
    if (token !== undefined) return token.at;
    const last = this.#tokens.at(-1) as Token;
    return { ...last.at, column: last.at.column + last.text.length };
  }

  peek(): Token | undefined {
    return this.#tokens[this.#next];
  }

  /** Takes the next word if it is of that kind. */
  skip(kind: TokenKind): Token | undefined {
    const token = this.#tokens[this.#next];
    if (token?.kind !== kind) return undefined;
    this.#next++;
    return token;
  }

  expect(kind: TokenKind): Token {
    const token = this.skip(kind);
    if (token === undefined) throw this.unexpected(NAMES[kind] ?? `"${kind}"`);
    return token;
  }

  unexpected(wanted: string): Error {
    const token = this.peek();
    return policyError(this.at, `${wanted} must follow, not ${token === undefined ? 'the end' : `"${token.text}"`}`);
  }

  end(): void {
    if (this.peek() !== undefined) throw this.unexpected('the end of the line');
  }
}

export function parsePython(file: string, options: ParseOptions): Policy {
  return new PythonParser(options).parse(file);
}

class PythonParser {
  readonly #options: ParseOptions;
  readonly #tables: Tables;
  readonly #kill: Action;
  readonly #budget = new Budget();
  readonly #rules = new RuleTable();
  readonly #frequencies = new Map<number, number>();
  #default: { readonly action: Action; readonly at: Position | undefined };

  constructor(options: ParseOptions) {
    this.#options = options;
    this.#tables = options.tables;
    const kill = options.kill ?? 'kill-thread';
    // linux/errno.h: EPERM
    this.#kill = options.denylist === true && kill !== 'log' ? { kind: 'errno', errno: 1 } : { kind: kill };
    this.#default = { action: options.denylist === true ? { kind: 'allow' } : this.#kill, at: undefined };
  }

  parse(file: string): Policy {
    this.#readFile(file, 1, undefined);
    const { action, at } =
      this.#options.defaultAction === undefined
        ? this.#default
        : { action: this.#options.defaultAction, at: undefined };
    const rules = this.#rules.finish(this.#frequencies);
    return {
      ...{ file, dialect: 'python', tables: this.#tables, rules, defaultAction: action, defaultAt: at },
      foreignAction: this.#kill,
      warnings: this.#options.denylist === true ? [] : warnOfLostFilters(rules.values(), action),
    };
  }

  #readFile(file: string, depth: number, from: Position | undefined): void {
    if (depth > LIMITS.depth) throw policyError(from as Position, `@include goes deeper than ${LIMITS.depth} files`);
    const text = this.#budget.read(file, from);
    let saysDenylist = false;
    for (const tokens of statements(text, file, (at) => this.#budget.line(at))) {
      const reader = new Reader(tokens);
      if (reader.skip('include')) {
        const path = reader.expect('path');
        reader.end();
        this.#readFile(this.#resolve(file, path.text), depth + 1, path.at);
      } else if (reader.skip('frequency')) {
        const path = reader.expect('path');
        reader.end();
        this.#readFrequencies(this.#resolve(file, path.text), path.at);
      } else if (reader.peek()?.kind === 'default') {
        const { at } = reader.expect('default');
        this.#default = { action: this.#defaultAction(reader), at };
        reader.end();
      } else if (reader.peek()?.kind === 'denylist') {
        const { at } = reader.expect('denylist');
        reader.end();
        if (this.#options.denylist !== true) {
          throw policyError(at, 'the policy lists what is refused, which must be asked for: --denylist');
        }
        saysDenylist = true;
      } else {
        this.#rule(reader);
        reader.end();
      }
    }
    if (this.#options.denylist === true && !saysDenylist) {
      throw policyError({ file, line: 1, column: 1 }, 'a denylist must say so, by a line @denylist');
    }
  }

  #resolve(file: string, path: string): string {
    const mapped = mapPath(path, this.#options.map ?? []);
    return mapped.startsWith('/') ? normalize(mapped) : join(dirname(file), mapped);
  }

  #readFrequencies(file: string, from: Position): void {
    for (const tokens of statements(this.#budget.read(file, from), file, (at) => this.#budget.line(at))) {
      const reader = new Reader(tokens);
      const syscalls = this.#syscall(reader);
      reader.expect(':');
      const { at, text } = reader.expect('number');
      reader.end();
      const count = Number(text);
      if (!Number.isSafeInteger(count) || count < 0) throw policyError(at, `"${text}" is no number of calls`);
      for (const [, number] of syscalls) this.#frequencies.set(number, (this.#frequencies.get(number) ?? 0) + count);
    }
  }

  #defaultAction(reader: Reader): Action {
    const { at } = reader;
    const action = this.#action(reader);
    if (/^(?:kill|trap|user-notify)/.test(action.kind)) return action;
    throw policyError(at, `a policy cannot ${action.kind} by default; only --default-action can`);
  }

  #rule(reader: Reader): void {
    const syscalls: (readonly [string, number])[] = [];
    if (reader.skip('{')) {
      do syscalls.push(...this.#syscall(reader));
      while (reader.skip(','));
      reader.expect('}');
    } else {
      syscalls.push(...this.#syscall(reader));
    }
    reader.expect(':');
    const filters: Filter[] = [];
    if (reader.skip('{')) {
      do filters.push(this.#filter(reader));
      while (reader.skip(','));
      reader.expect('}');
    } else {
      filters.push(this.#filter(reader));
    }
    for (const [name, number] of syscalls) this.#rules.add(name, number, filters);
  }

  /** Name and number of one, of those of a group, or of none on another architecture. */
  #syscall(reader: Reader): readonly (readonly [string, number])[] {
    const token = reader.peek();
    // The one system call that is called as an action is.
    if (token?.kind !== 'name' && token?.text !== 'kill') throw reader.unexpected('the name of a system call');
    reader.skip(token.kind);
    const { text: name, at } = token;
    if (reader.skip('[') && !this.#isForUs(reader)) return [];
    if (name.includes('@')) return this.#group(name, at);
    const number = this.#tables.syscalls.get(name);
    if (number !== undefined) return [[name, number]];
    const suggestion = suggest(name, this.#tables.syscalls.keys());
    throw policyError(at, `${this.#tables.architecture} has no system call "${name}"`, suggestion);
  }

  /** What stands in [ ]: keys with values, of which only `arch` means something. */
  #isForUs(reader: Reader): boolean {
    const keys = new Set<string>();
    let ours = true;
    do {
      const { text: key, at } = reader.expect('name');
      if (keys.has(key)) throw policyError(at, `${key} is given twice`);
      keys.add(key);
      reader.expect('=');
      const values: string[] = [];
      do values.push(reader.expect('name').text);
      while (reader.skip(','));
      const names = namesOfArchitecture(this.#tables.architecture);
      if (key === 'arch') ours = values.some((value) => names.includes(value));
    } while (reader.skip(';'));
    reader.expect(']');
    return ours;
  }

  #group(name: string, at: Position): readonly (readonly [string, number])[] {
    const [group = '', namespace = '', ...more] = name.split('@');
    const groups = this.#tables.groups.get(namespace);
    if (more.length > 0)
      throw policyError(at, `"${name}" is no group: one @ stands between its name and its namespace`);
    if (groups === undefined) {
      const suggestion = didYouMean(namespace, this.#tables.groups.keys());
      throw policyError(at, `there is no namespace of groups "${namespace}"`, suggestion);
    }
    const names = groups.get(group);
    if (names === undefined) {
      throw policyError(at, `there is no group "${group}" in ${namespace}`, didYouMean(group, groups.keys()));
    }
    return names.map((syscall) => [syscall, this.#tables.syscalls.get(syscall) as number]);
  }

  #filter(reader: Reader): Filter {
    const { at } = reader;
    if (reader.peek()?.kind !== 'argument') return { condition: undefined, action: this.#action(reader), at };
    const condition = this.#condition(reader);
    return { condition, action: reader.skip(';') ? this.#action(reader) : { kind: 'allow' }, at };
  }

  #action(reader: Reader): Action {
    const { at } = reader;
    const token = reader.peek();
    if (this.#options.denylist === true && token?.kind !== 'return') {
      throw reader.unexpected('"return", as in every line of a denylist,');
    }
    if (reader.skip('return')) {
      const errno = Number(this.#constant(reader) & 0xffffn);
      // As with --use-ret-log: nothing is refused, so that all that would be is seen.
      return this.#options.kill === 'log' ? { kind: 'log' } : { kind: 'errno', errno };
    }
    if (token?.kind === 'number' && parseNumber(token.text, this.#tables.bits, true) === 1n) {
      reader.skip('number');
      return { kind: 'allow' };
    }
    if (!reader.skip('action')) throw reader.unexpected('an action or a condition');
    const word = token?.text ?? '';
    if (word === 'kill') return this.#kill;
    if (word === 'allow' || word === 'log' || word === 'trace' || word === 'trap' || word === 'user-notify') {
      return { kind: word };
    }
    if (word === 'kill-process' || word === 'kill-thread') return { kind: word };
    throw policyError(at, `"${word}" is no action`);
  }

  #condition(reader: Reader): readonly Clause[] {
    const clauses: Clause[] = [];
    do {
      const clause: Atom[] = [];
      do clause.push(this.#atom(reader));
      while (reader.skip('&&'));
      clauses.push(clause);
    } while (reader.skip('||'));
    return clauses;
  }

  #atom(reader: Reader): Atom {
    const { text, at } = reader.expect('argument');
    const argument = Number(text.slice(3));
    if (argument >= ARGUMENTS) throw policyError(at, `${text} is none: a system call has arg0 to arg${ARGUMENTS - 1}`);
    const operator = reader.expect('operator').text as Operator;
    this.#budget.atom(at);
    return { argument, operator, value: this.#value(reader, 0) };
  }

  /** Constants joined by |. */
  #value(reader: Reader, depth: number): bigint {
    if (depth > LIMITS.depth) throw policyError(reader.at, `brackets are nested deeper than ${LIMITS.depth}`);
    let value = 0n;
    do {
      const negated = reader.skip('~') !== undefined;
      let part: bigint;
      if (reader.skip('(')) {
        part = this.#value(reader, depth + 1);
        reader.expect(')');
      } else {
        part = this.#constant(reader);
      }
      value |= negated ? BigInt.asUintN(this.#tables.bits, ~part) : part;
    } while (reader.skip('|'));
    return value;
  }

  #constant(reader: Reader): bigint {
    const token = reader.peek();
    if (token?.kind !== 'name' && token?.kind !== 'number') throw reader.unexpected('a constant');
    reader.skip(token.kind);
    const { bits, constants } = this.#tables;
    const named = token.kind === 'name' ? constants.get(token.text) : undefined;
    if (token.kind === 'name' && named === undefined) {
      const suggestion = suggest(token.text, constants.keys());
      throw policyError(token.at, `there is no constant "${token.text}"`, suggestion);
    }
    const value = named === undefined ? parseNumber(token.text, bits, true) : fit(named, bits);
    if (typeof value === 'bigint') return value;
    throw policyError(token.at, `"${token.text}" is ${value} for ${bits} bits`);
  }
}
