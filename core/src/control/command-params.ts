// Arguments and options of a command as they come over the socket, checked against its specification.

import type { CommandOption, CommandSpec } from '../commands.ts';
import { errors } from '../core-errors.ts';
import { didYouMean } from '../nearest.ts';

type Options = Readonly<Record<string, unknown>>;

/** The options with defaults filled in, as the types of a handler promise them. @throws CORE_ERR_COMMAND_USAGE */
export function checkCommandParams(spec: CommandSpec, args: readonly string[], given: Options): Options {
  checkArgs(spec, args);
  const known = spec.options ?? {};
  const unknown = Object.keys(given).find((key) => !Object.hasOwn(known, key));
  if (unknown !== undefined) usage(spec, `unknown option "${unknown}"${didYouMean(unknown, Object.keys(known))}`);
  return Object.fromEntries(
    Object.entries(known).map(([name, option]) => [name, optionValue(spec, name, option, given[name])]),
  );
}

function checkArgs(spec: CommandSpec, args: readonly string[]): void {
  const known = spec.args ?? [];
  const missing = known.find((arg, i) => arg.required && args[i] === undefined);
  if (missing !== undefined) usage(spec, `argument "${missing.name}" is missing`);
  if (args.length > known.length && known.at(-1)?.variadic !== true) {
    usage(spec, `${args.length} arguments were given; it takes ${known.length}`);
  }
}

function optionValue(spec: CommandSpec, name: string, option: CommandOption, given: unknown): unknown {
  if (given === undefined) return absent(spec, name, option);
  if (option.multiple !== true) return single(spec, name, option, given);
  if (!Array.isArray(given)) return usage(spec, `option "${name}" is not a list`);
  return given.map((value: unknown) => single(spec, name, option, value));
}

function absent(spec: CommandSpec, name: string, option: CommandOption): unknown {
  if (option.required === true) usage(spec, `option "${name}" is missing`);
  if (option.multiple === true) return option.default === undefined ? [] : [option.default];
  return option.default ?? (option.type === 'boolean' ? false : undefined);
}

function single(spec: CommandSpec, name: string, option: CommandOption, value: unknown): unknown {
  if (typeof value !== option.type || Number.isNaN(value)) usage(spec, `option "${name}" is not a ${option.type}`);
  if (option.choices !== undefined && !option.choices.includes(String(value))) {
    usage(spec, `option "${name}" is not one of ${option.choices.join(', ')}`);
  }
  return value;
}

function usage(spec: CommandSpec, why: string): never {
  throw errors.CORE_ERR_COMMAND_USAGE({ details: { command: spec.name, why } });
}
