// The value grammar of crosvm's options: `key=value,flag,list=[a,b]`. The key of the first value may be left out.

import { errors } from '../errors.ts';

export type OptionValue = string | true | readonly string[];

/** Characters of one option. */
const MAX_LENGTH = 8192;
const KEY = /^[a-z][a-z0-9-]*$/;

/**
 * @param first the key of the first value when it is given without
 * @throws VMM_ERR_DESCRIPTION with the place of what is wrong
 */
export function parseKeyValues(text: string, option: string, first?: string): Readonly<Record<string, OptionValue>> {
  const reader = new Reader(text, option);
  const values: Record<string, OptionValue> = {};
  for (let index = 0; index === 0 || reader.take(','); index++) {
    const at = reader.at;
    const word = reader.word();
    const isFirst = index === 0 && first !== undefined;
    const bare = !reader.ahead('=');
    // A path with "=" in it needs quotes or its key.
    const keyless = isFirst && (bare ? first !== undefined : !KEY.test(word));
    const key = keyless ? (first as string) : word;
    if (!KEY.test(key)) throw reader.refuse(at, `"${key}" is no name of a setting`);
    if (Object.hasOwn(values, key)) throw reader.refuse(at, `${key} is given twice`);
    if (keyless) values[key] = bare ? word : word + reader.rest();
    else values[key] = reader.take('=') ? reader.value() : true;
  }
  if (!reader.atEnd) throw reader.refuse(reader.at, `"${text[reader.at]}" is not expected there`);
  return values;
}

class Reader {
  readonly #text: string;
  readonly #option: string;
  at = 0;

  constructor(text: string, option: string) {
    this.#text = text;
    this.#option = option;
    if (text.length > MAX_LENGTH) throw this.refuse(0, `it has more than ${MAX_LENGTH} characters`);
  }

  get atEnd(): boolean {
    return this.at >= this.#text.length;
  }

  ahead(character: string): boolean {
    return this.#text[this.at] === character;
  }

  take(character: string): boolean {
    const found = this.ahead(character);
    if (found) this.at += 1;
    return found;
  }

  /** Up to `,`, `=`, or the end; or what is in quotes. */
  word(): string {
    return this.#quoted() ?? this.#until(/[,=]/g);
  }

  value(): string | readonly string[] {
    if (this.take('[')) return this.#list();
    return this.#quoted() ?? this.#until(/,/g);
  }

  /** Up to `,`. */
  rest(): string {
    return this.#until(/,/g);
  }

  refuse(at: number, why: string): Error {
    const where = `${this.#option} ${this.#text}`;
    return errors.VMM_ERR_DESCRIPTION({ details: { where, why: `${why} (character ${at + 1})` } });
  }

  #list(): readonly string[] {
    const items: string[] = [];
    if (this.take(']')) return items;
    do items.push(this.#quoted() ?? this.#until(/[\],]/g));
    while (this.take(','));
    if (!this.take(']')) throw this.refuse(this.at, 'the list has no end');
    return items;
  }

  #quoted(): string | undefined {
    const quote = this.#text[this.at];
    if (quote !== '"' && quote !== "'") return undefined;
    const end = this.#text.indexOf(quote, this.at + 1);
    if (end < 0) throw this.refuse(this.at, 'the quote has no end');
    const inside = this.#text.slice(this.at + 1, end);
    this.at = end + 1;
    return inside;
  }

  #until(stop: RegExp): string {
    stop.lastIndex = this.at;
    const found = stop.exec(this.#text)?.index ?? this.#text.length;
    const text = this.#text.slice(this.at, found);
    this.at = found;
    return text;
  }
}
