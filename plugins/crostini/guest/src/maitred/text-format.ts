// LaunchProcessRequest in protocol buffers' text format, as far as start-up files use it:
// https://protobuf.dev/reference/protobuf/textformat-spec/

export interface LaunchRequest {
  readonly argv: readonly string[];
  readonly env: ReadonlyMap<string, string>;
  readonly respawn: boolean;
  readonly use_console: boolean;
  readonly wait_for_exit: boolean;
}

const TEXT_MAX = 65_536;
const FLAGS = ['respawn', 'use_console', 'wait_for_exit'] as const;
type Flag = (typeof FLAGS)[number];
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', a: '\x07', b: '\b', f: '\f', v: '\v' };
/** Comments, strings, names with numbers, marks; anything else is none of them. */
const TOKEN = /#[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[A-Za-z_0-9]+|[{}<>:;,[\]]|\S/g;

/** @throws SyntaxError */
export function parseLaunchRequest(text: string): LaunchRequest {
  if (text.length > TEXT_MAX) throw new SyntaxError(`it is longer than ${TEXT_MAX} characters`);
  return new Parser(text).request();
}

class Parser {
  readonly #tokens: readonly string[];
  #at = 0;

  constructor(text: string) {
    this.#tokens = (text.match(TOKEN) ?? []).filter((token) => !token.startsWith('#'));
  }

  request(): LaunchRequest {
    const argv: string[] = [];
    const env = new Map<string, string>();
    const flags: Record<Flag, boolean> = { respawn: false, use_console: false, wait_for_exit: false };
    while (this.#peek() !== undefined) {
      const field = this.#next();
      if (field === 'argv') this.#colon(() => argv.push(...this.#list()));
      else if (field === 'env') env.set(...this.#entry());
      else if (isFlag(field)) this.#colon(() => (flags[field] = this.#bool()));
      else throw new SyntaxError(`there is no field ${JSON.stringify(field)}`);
      if (this.#peek() === ',' || this.#peek() === ';') this.#at += 1;
    }
    return { argv, env, ...flags };
  }

  #peek(): string | undefined {
    return this.#tokens[this.#at];
  }

  #next(): string {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new SyntaxError('it ends too early');
    return token;
  }

  #expect(...tokens: readonly string[]): string {
    const token = this.#next();
    if (!tokens.includes(token)) throw new SyntaxError(`${JSON.stringify(token)} stands where ${tokens[0]} has to`);
    return token;
  }

  #colon(read: () => void): void {
    this.#expect(':');
    read();
  }

  #list(): string[] {
    if (this.#peek() !== '[') return [this.#string()];
    this.#at += 1;
    const strings: string[] = [];
    while (this.#peek() !== ']') {
      strings.push(this.#string());
      if (this.#peek() !== ']') this.#expect(',');
    }
    this.#at += 1;
    return strings;
  }

  #entry(): [key: string, value: string] {
    if (this.#peek() === ':') this.#at += 1;
    const end = this.#expect('{', '<') === '{' ? '}' : '>';
    const parts = { key: '', value: '' };
    while (this.#peek() !== end) {
      const name = this.#expect('key', 'value') as 'key' | 'value';
      this.#colon(() => (parts[name] = this.#string()));
      if (this.#peek() === ',' || this.#peek() === ';') this.#at += 1;
    }
    this.#at += 1;
    return [parts.key, parts.value];
  }

  #bool(): boolean {
    return ['true', 't', '1', 'True'].includes(this.#expect('true', 'false', 't', 'f', '1', '0', 'True', 'False'));
  }

  /** Several one after the other are one. */
  #string(): string {
    let text = unquote(this.#next());
    while (this.#peek()?.startsWith('"') === true || this.#peek()?.startsWith("'") === true)
      text += unquote(this.#next());
    return text;
  }
}

function isFlag(field: string): field is Flag {
  return (FLAGS as readonly string[]).includes(field);
}

function unquote(token: string): string {
  if (!/^(["']).*\1$/s.test(token) || token.length < 2)
    throw new SyntaxError(`${JSON.stringify(token)} stands where a string has to`);
  return token
    .slice(1, -1)
    .replace(/\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))/gs, (_, octal?: string, hex?: string, other?: string) => {
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8) & 0xff);
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      return ESCAPES[other ?? ''] ?? other ?? '';
    });
}
