// From the table of commands to what the user typed, through commander.

import { type CommandArgument, type CommandOption, type CommandSpec, didYouMean } from '@runtime/core';
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { errors } from '../errors.ts';
import { CLI_COMMANDS, type CliCommand, GLOBAL_OPTIONS } from './command-table.ts';
import type { GlobalValues } from './context.ts';
import type { Format } from './format.ts';
import { ansiPaint, noPaint, printable } from './terminal.ts';

export type Parsed =
  | { readonly kind: 'text'; readonly text: string }
  | {
      readonly kind: 'command';
      readonly command: CliCommand;
      readonly call: ParsedCall;
      readonly globals: GlobalValues;
    }
  /** No command: run in the foreground. */
  | { readonly kind: 'run'; readonly globals: GlobalValues }
  /** A command that is not ours: words and options as they were typed. */
  | { readonly kind: 'foreign'; readonly words: readonly string[]; readonly globals: GlobalValues };

export interface ParsedCall {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
}

export interface HelpStyle {
  readonly columns: number;
  readonly color: boolean;
}

type Values = Readonly<Record<string, unknown>>;

/**
 * @param foreign commands of plugins, for help
 * @throws SDK_ERR_USAGE
 */
export function parseCommandLine(
  argv: readonly string[],
  version: string,
  style: HelpStyle,
  foreign: readonly Pick<CommandSpec, 'name' | 'summary'>[] = [],
): Parsed {
  const printed: string[] = [];
  let result: Parsed | undefined;
  const program = prepare(new Command('runtime'), style, printed)
    .usage('[options] [command]')
    .description("ChromeOS' VM stack for any Linux, as plugins")
    .version(version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help; after a command, that of the command')
    .enablePositionalOptions()
    .passThroughOptions()
    .argument('[words...]')
    .action((words: string[]) => {
      const globals = globalValues([program.opts()]);
      result = words.length === 0 ? { kind: 'run', globals } : { kind: 'foreign', words, globals };
    });
  addOptions(program, GLOBAL_OPTIONS);
  program.helpCommand(false);
  for (const command of CLI_COMMANDS) {
    const target = commandAt(program, command.name, command.group, style, printed);
    describe(target, command);
    target.addHelpText('after', '\nOptions for every command, such as --format and --name: runtime --help');
    addOptions(target, GLOBAL_OPTIONS, { hidden: true, except: Object.keys(command.options ?? {}) });
    target.action(() => {
      const call = callOf(target, command);
      const globals = globalValues([program.opts(), target.opts()]);
      result =
        command.isForeign?.(call) === true
          ? { kind: 'foreign', words: asTyped(target, command), globals }
          : { kind: 'command', command, call, globals };
    });
  }
  if (foreign.length > 0) {
    for (const { name, summary } of foreign) {
      // One of ours that a plugin adds to.
      if (program.commands.some((command) => command.name() === name)) continue;
      program.addCommand(new Command(name).summary(printable(summary)).description('').helpGroup('Of plugins:'));
    }
  }
  program.addHelpText('after', EPILOGUE);
  run(program, argv, 'runtime');
  return result ?? { kind: 'text', text: printed.join('') };
}

const EPILOGUE = `
Examples:
  runtime --plugins crostini,venus      run these in the foreground
  runtime -p ./my-plugin my-plugin say  run one command of a plugin, then stop
  runtime plugin new my-plugin          start writing one`;

/**
 * What follows the name of a command that a plugin added.
 * @throws SDK_ERR_USAGE
 */
export function parseForeign(
  spec: CommandSpec,
  rest: readonly string[],
  globals: GlobalValues,
  style: HelpStyle,
): { readonly text: string } | { readonly call: ParsedCall; readonly globals: GlobalValues } {
  const printed: string[] = [];
  const target = prepare(new Command(`runtime ${spec.name}`), style, printed).helpOption(
    '-h, --help',
    'print this help',
  );
  describe(target, spec);
  const { format, debug } = GLOBAL_OPTIONS;
  const shared = { format, debug };
  addOptions(target, shared, { hidden: true, except: Object.keys(spec.options ?? {}) });
  let done: { readonly call: ParsedCall; readonly globals: GlobalValues } | undefined;
  target.action(() => {
    const given = target.opts();
    const own = Object.keys(spec.options ?? {});
    const merged = {
      ...globals,
      ...(own.includes('format') || !wasGiven(target, 'format') ? {} : { format: given.format as Format }),
      ...(own.includes('debug') || given.debug !== true ? {} : { debug: true }),
    };
    done = { call: callOf(target, spec), globals: merged };
  });
  run(target, rest, `runtime ${spec.name}`);
  return done ?? { text: printed.join('') };
}

function run(program: Command, argv: readonly string[], name: string): void {
  try {
    program.parse(argv, { from: 'user' });
  } catch (e) {
    if (!(e instanceof CommanderError)) throw e;
    // `runtime plugin` asks for help, too.
    if (e.exitCode === 0 || e.code === 'commander.help') return;
    const why = e.message
      .replace(/^error: /, '')
      .replace(/\n\(Did you mean (.*)\?\)$/, '; did you mean "$1"?')
      .replaceAll('\n', ' ')
      .replace(/^unknown option '(--[\w-]+).*'$/, (whole, flag: string) => whole + didYouMean(flag, GLOBAL_FLAGS));
    throw errors.SDK_ERR_USAGE({ details: { command: name, why } });
  }
}

/** commander suggests only what help shows. */
const GLOBAL_FLAGS: readonly string[] = Object.keys(GLOBAL_OPTIONS).map((key) => `--${flagOf(key)}`);

/** No output and no exit of its own. */
function prepare(command: Command, { columns, color }: HelpStyle, printed: string[]): Command {
  const paint = color ? ansiPaint : noPaint;
  return command
    .exitOverride()
    .configureOutput({
      writeOut: (text) => printed.push(text),
      writeErr: (text) => printed.push(text),
      getOutHelpWidth: () => Math.min(columns, 110),
      getOutHasColors: () => color,
    })
    .configureHelp({
      styleTitle: (text) => paint('bold', text),
      styleSubcommandText: (text) => paint('cyan', text),
      styleOptionText: (text) => paint('cyan', text),
      // Words that are no command of ours are those of plugins.
      visibleArguments: (of) => (of.parent === null && of.name() === 'runtime' ? [] : [...of.registeredArguments]),
      subcommandTerm: (sub) => [sub.name(), ...sub.registeredArguments.map(argumentTerm)].join(' '),
      optionDescription: (option) => [option.description, valuesText(option)].filter((text) => text !== '').join('; '),
    });
}

function argumentTerm(argument: Argument): string {
  const name = argument.name() + (argument.variadic ? '…' : '');
  return argument.required ? `<${name}>` : `[${name}]`;
}

/** `table, json or yaml; default table` */
function valuesText({ argChoices, defaultValue, envVar }: Option): string {
  const choices = argChoices === undefined ? '' : `${argChoices.slice(0, -1).join(', ')} or ${argChoices.at(-1)}`;
  const shown = Array.isArray(defaultValue) ? defaultValue.join(', ') : defaultValue;
  const fallback = shown === undefined || shown === false || shown === '' ? '' : `default ${shown}`;
  const variable = envVar === undefined ? '' : `or ${envVar}`;
  return [choices, fallback, variable].filter((text) => text !== '').join('; ');
}

/** Makes the commands above it on the way. */
function commandAt(program: Command, name: string, group: string, style: HelpStyle, printed: string[]): Command {
  let at = program;
  const words = name.split(' ');
  for (const [depth, word] of words.entries()) {
    let next = at.commands.find((c) => c.name() === word);
    if (next === undefined) {
      next = prepare(at.command(word), style, printed).helpOption('-h, --help', 'print this help');
      if (depth === 0) next.helpGroup(`${group}:`);
      if (depth < words.length - 1) {
        next
          .summary(PARENTS[word] ?? '')
          .description(capital(PARENTS[word] ?? ''))
          .helpCommand(false);
      }
    }
    at = next;
  }
  return at;
}

const PARENTS: Readonly<Record<string, string>> = {
  plugin: 'list, info, graph, new, dev, reload, enable or disable',
  config: 'show or check',
};

function describe(command: Command, spec: CommandSpec): void {
  const summary = printable(spec.summary);
  command
    .summary(summary)
    .description([capital(summary), ...(spec.description ? [printable(spec.description)] : [])].join('\n\n'));
  for (const argument of spec.args ?? []) command.addArgument(toArgument(argument));
  addOptions(command, spec.options ?? {});
}

function capital(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`.replace(/\.\.$/, '.');
}

function toArgument({ name, summary, required, variadic }: CommandArgument): Argument {
  const shown = variadic === true ? `${name}...` : name;
  return new Argument(required === true ? `<${shown}>` : `[${shown}]`, printable(summary));
}

/** Values are kept under the key of the table, whatever commander makes of the flag. */
function addOptions(
  command: Command,
  options: Readonly<Record<string, CommandOption>>,
  { hidden = false, except = [] }: { readonly hidden?: boolean; readonly except?: readonly string[] } = {},
): void {
  for (const [key, option] of Object.entries(options)) {
    if (except.includes(key)) continue;
    command.addOption(toOption(key, option).hideHelp(hidden));
    if (option.type === 'boolean' && option.default === true)
      command.addOption(new Option(`--no-${flagOf(key)}`).hideHelp());
  }
}

function toOption(key: string, spec: CommandOption): Option {
  const { type, short, multiple, choices, required } = spec;
  const flag = `${short === undefined ? '' : `-${short}, `}--${flagOf(key)}`;
  const placeholder = type === 'boolean' ? '' : ` <${type === 'number' ? 'number' : placeholderOf(key)}>`;
  const option = new Option(flag + placeholder, printable(spec.summary));
  if (spec.default !== undefined) option.default(multiple === true ? [spec.default] : spec.default);
  // A default that is an empty list would be shown.
  if (choices !== undefined) option.choices([...choices]);
  if (spec.env !== undefined) option.env(spec.env);
  if (required === true) option.makeOptionMandatory();
  const single = choices === undefined ? undefined : option.parseArg;
  if (type === 'number' || multiple === true) {
    option.argParser((text: string, previous: unknown) => {
      single?.(text, undefined as never);
      const value = type === 'number' ? toNumber(text) : text;
      if (multiple !== true) return value;
      const isFirst = previous === undefined || previous === option.defaultValue;
      return [...(isFirst ? [] : (previous as unknown[])), value];
    });
  }
  return option;
}

function toNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It is not a number.');
  return value;
}

function placeholderOf(key: string): string {
  return PLACEHOLDERS[key] ?? 'value';
}
const PLACEHOLDERS: Readonly<Record<string, string>> = {
  plugins: 'names',
  config: 'file',
  set: 'path=value',
  isolation: 'plugin=level',
  logLevel: 'level',
  name: 'name',
  format: 'format',
  plugin: 'name',
  kind: 'kind',
  event: 'topic',
  vm: 'id',
};

/** `logLevel` → `log-level` */
export function flagOf(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** What commander calls it: `log-level` → `logLevel` */
function attributeOf(key: string): string {
  return flagOf(key).replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function wasGiven(command: Command, key: string): boolean {
  const source = command.getOptionValueSource(attributeOf(key));
  return source !== undefined && source !== 'default';
}

/** Name, arguments and the options that were given, without those for every command. */
function asTyped(command: Command, { name, options = {} }: CommandSpec): readonly string[] {
  const given: Values = command.opts();
  const flags = Object.keys(options).flatMap((key) => {
    if (!wasGiven(command, key)) return [];
    const value = given[attributeOf(key)];
    return value === true ? [`--${flagOf(key)}`] : [`--${flagOf(key)}=${String(value)}`];
  });
  return [...name.split(' '), ...command.args, ...flags];
}

function callOf(command: Command, spec: CommandSpec): ParsedCall {
  const given: Values = command.opts();
  const options = Object.entries(spec.options ?? {}).flatMap(([key, option]): [string, unknown][] => {
    // To commander, it denies another one.
    if (key.startsWith('no-')) return [[key, given[attributeOf(key.slice(3))] === false]];
    const value = given[attributeOf(key)];
    if (value !== undefined) return [[key, value]];
    if (option.type === 'boolean') return [[key, false]];
    return option.multiple === true ? [[key, []]] : [];
  });
  return { args: command.args, options: Object.fromEntries(options) };
}

function globalValues(sources: readonly Values[]): GlobalValues {
  const list = (key: string): readonly string[] =>
    sources.flatMap((values) => (values[key] as readonly string[] | undefined) ?? []);
  const last = (key: string): string | undefined =>
    sources.map((values) => values[key] as string | undefined).findLast((value) => value !== undefined);
  const plugins = list('plugins');
  const format = sources.map((v) => v.format as Format | undefined).findLast((f) => f !== undefined && f !== 'table');
  return {
    plugins:
      plugins.length === 0 ? undefined : plugins.flatMap((text) => text.split(',')).filter((s) => s.trim() !== ''),
    config: last('config'),
    set: list('set'),
    isolation: list('isolation'),
    logLevel: last('logLevel'),
    name: last('name'),
    format: format ?? 'table',
    debug: sources.some((values) => values.debug === true),
  };
}
