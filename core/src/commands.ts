// Commands that plugins add to the `runtime` command line. They run inside the runtime; the terminal is on the other
// side of the control socket.

import { errors } from './core-errors.ts';
import type { Scope } from './scope.ts';

export type OptionType = 'boolean' | 'string' | 'number';
export interface CommandOption {
  readonly type: OptionType;
  readonly summary: string;
  /** One letter. */
  readonly short?: string;
  readonly default?: boolean | string | number;
  readonly required?: boolean;
  /** May be given several times; the value is then an array. */
  readonly multiple?: boolean;
  readonly choices?: readonly string[];
  /** Variable of the caller's environment that has its value where it is not given; of a boolean, which is true if it is set. */
  readonly env?: string;
}
export interface CommandArgument {
  readonly name: string;
  readonly summary: string;
  readonly required?: boolean;
  /** Takes all that remain; only the last may. */
  readonly variadic?: boolean;
}

/** What help, completion and the parser need: plain data. */
export interface CommandSpec {
  /** Words, the first usually the plugin's: `vm run`. */
  readonly name: string;
  readonly summary: string;
  readonly description?: string;
  /**
   * Goes on until its user ends it. When it has a runtime of its own (`runtime --plugins … <command>`), other commands
   * reach that runtime meanwhile, unless one of that name runs already.
   */
  readonly lasting?: true;
  /**
   * It is about what outlives a runtime. With `--plugins` it runs in the runtime of that name where there is one, else in one
   * of its own that keeps its state. So says its row in the manifest, too.
   */
  readonly keeps?: true;
  /** What the plugin is for: what `runtime --plugins …` without a command does on a terminal. Implies `keeps`. */
  readonly main?: true;
  readonly args?: readonly CommandArgument[];
  readonly options?: Readonly<Record<string, CommandOption>>;
}

type OptionValue<O extends CommandOption> = O['type'] extends 'boolean'
  ? boolean
  : O['type'] extends 'number'
    ? number
    : string;
/** Has a value even when it is not given. */
type AlwaysSet<O extends CommandOption> = O extends
  | { readonly default: boolean | string | number }
  | { readonly required: true }
  | { readonly type: 'boolean' }
  ? true
  : false;
type OptionOf<O extends CommandOption> = O['multiple'] extends true
  ? readonly OptionValue<O>[]
  : AlwaysSet<O> extends true
    ? OptionValue<O>
    : OptionValue<O> | undefined;
export type OptionValues<T extends CommandSpec> =
  T['options'] extends Readonly<Record<string, CommandOption>>
    ? { readonly [K in keyof T['options']]: OptionOf<T['options'][K]> }
    : Readonly<Record<string, never>>;

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}
/** The terminal at the other end. */
export interface CommandTerminal extends TerminalSize {
  readonly isTTY: boolean;
  /** Of standard input; the others are of standard output. */
  readonly inputIsTTY?: boolean;
  /** What the caller has in TERM, 1 to 64 characters. */
  readonly type?: string;
}

export interface CommandIo {
  /** As it was when the command began. */
  readonly terminal: CommandTerminal;
  /** Its size as it changes, the last one only for a reader that is slow; ends with the command. To be read by one loop. */
  readonly resizes: AsyncIterable<TerminalSize>;
  /** Working directory of the caller. */
  readonly cwd: string;
  /** Text for people; a newline is added. Waits while the reader is slow. */
  out(line: string): Promise<void>;
  err(line: string): Promise<void>;
  /** Bytes as they are. */
  write(bytes: Uint8Array): Promise<void>;
  /** The same for standard error. */
  writeErr(bytes: Uint8Array): Promise<void>;
  /** What the command is about, as data: printed as table, JSON or YAML, as the caller asked. */
  data(value: unknown): Promise<void>;
  /** A named stage of work over a second. `fraction` from 0 to 1, when known. */
  progress(stage: string, fraction?: number): Promise<void>;
  /**
   * With `true`, keys reach `input` as they are typed, unechoed and ^C among them; until `false` or the end of the
   * command. Nothing happens where the input is no terminal.
   */
  raw(on: boolean): Promise<void>;
  /** Standard input of the caller. */
  readonly input: AsyncIterable<Uint8Array>;
}

export interface Invocation<T extends CommandSpec = CommandSpec> {
  readonly args: readonly string[];
  readonly options: OptionValues<T>;
  readonly io: CommandIo;
  /** Aborted when the caller goes away or presses ^C. */
  readonly signal: AbortSignal;
}

/** The exit code; nothing means 0. */
export type CommandHandler<T extends CommandSpec> = (
  invocation: Invocation<T>,
) => Promise<number | void> | number | void;

export interface CommandRegistry {
  /** @throws CORE_ERR_COMMAND_USAGE for a spec that is not sound, CORE_ERR_COMMAND_DUPLICATE */
  add<const T extends CommandSpec>(spec: T, handler: CommandHandler<T>): Disposable;
}

const MAX_NAME = 128;
const NAME = /^[a-z][a-z0-9-]*( [a-z][a-z0-9-]*){0,3}$/;

const VARIABLE = /^[A-Z][A-Z0-9_]{0,63}$/;

interface CommandEntry {
  readonly plugin: string;
  readonly spec: CommandSpec;
  readonly handler: CommandHandler<CommandSpec>;
}

/** Why a command could not be parsed or shown in help; found here, it is its author's problem and not the user's. */
function problemOf({ name, args = [], options = {} }: CommandSpec): string | undefined {
  if (name.length > MAX_NAME || !NAME.test(name)) return 'its name must be one to four lower-case words';
  if (args.slice(0, -1).some(({ variadic }) => variadic === true)) return 'only its last argument may be variadic';
  if (Object.values(options).some(({ env }) => env !== undefined && !VARIABLE.test(env)))
    return 'a variable for an option must be in capital letters, digits and "_"';
  const shorts = Object.values(options).flatMap(({ short }) => short ?? []);
  const isOneLetterEach = shorts.every((short) => /^[a-zA-Z]$/.test(short)) && new Set(shorts).size === shorts.length;
  return isOneLetterEach ? undefined : 'the short form of each option must be a letter of its own';
}

/** The commands of one runtime. */
export class CommandHub {
  readonly #entries: Map<string, CommandEntry> = new Map();

  /** The view of one plugin. */
  view(scope: Scope): CommandRegistry {
    return {
      add: (spec, handler) => this.#add(scope, spec, handler as unknown as CommandHandler<CommandSpec>),
    };
  }

  list(): readonly (CommandSpec & { readonly plugin: string })[] {
    return Array.from(this.#entries.values(), ({ plugin, spec }) => ({ ...spec, plugin }));
  }

  find(name: string): CommandEntry | undefined {
    return this.#entries.get(name);
  }

  #add(scope: Scope, spec: CommandSpec, handler: CommandHandler<CommandSpec>): Disposable {
    const plugin = scope.owner;
    const why = problemOf(spec);
    if (why !== undefined) throw errors.CORE_ERR_COMMAND_USAGE({ plugin, details: { command: spec.name, why } });
    const holder = this.#entries.get(spec.name)?.plugin;
    if (holder !== undefined) {
      throw errors.CORE_ERR_COMMAND_DUPLICATE({ plugin, details: { plugin, command: spec.name, holder } });
    }
    const registration = scope.defer(`command ${spec.name}`, () => {
      this.#entries.delete(spec.name);
    });
    this.#entries.set(spec.name, { plugin, spec, handler });
    return registration;
  }
}
