// docs/reference/cli.md: the help of every command, as it is printed.

import { CORE_VERSION, type CommandSpec } from '@runtime/core';
import { CLI_COMMANDS, COMMAND_GROUPS } from '../../sdk/src/cli/command-table.ts';
import type { GlobalValues } from '../../sdk/src/cli/context.ts';
import { parseCommandLine, parseForeign } from '../../sdk/src/cli/parse.ts';
import type { PluginParts } from './plugin-parts.ts';

const STYLE = { columns: 100, color: false } as const;
const NO_GLOBALS: GlobalValues = {
  plugins: undefined,
  config: undefined,
  set: [],
  isolation: [],
  logLevel: undefined,
  name: undefined,
  format: 'table',
  debug: false,
};

export function cliPage(plugins: readonly PluginParts[]): string {
  return [
    '# Command line',
    '',
    'Without a command `runtime` runs the plugins in the foreground until ^C. Every other command talks to the runtime that',
    'runs, over its [control socket](protocol.md), or needs none. The options listed here may stand after any command, too.',
    '',
    help([]),
    ...COMMAND_GROUPS.flatMap((group) => [
      '',
      `## ${group}`,
      ...CLI_COMMANDS.filter((command) => command.group === group).flatMap(({ name }) => [
        '',
        `### runtime ${name}`,
        '',
        help(name.split(' ')),
      ]),
    ]),
    '',
    '## Commands of plugins',
    '',
    'They stand beside these and have their own `--help`. With a running runtime they run inside it; without one,',
    '`runtime --plugins <names> <command>` starts one for as long as the command runs; while one that goes on (`vm run`) has',
    'a runtime of its own, other commands reach that one.',
    ...plugins
      .filter(({ commands }) => commands.length > 0)
      .flatMap(({ plugin, commands }) => [
        '',
        `## Commands of ${plugin}`,
        ...commands.flatMap((spec) => ['', `### runtime ${spec.name}`, '', foreignHelp(spec)]),
      ]),
    '',
    '## Exit codes',
    '',
    '| code | means |',
    '|---|---|',
    '| 0 | it worked |',
    '| 1 | it failed; the error says why |',
    '| 2 | the command line, the configuration or the set of plugins is wrong, or no runtime answers |',
    '| 130 | ended by ^C |',
    '',
    'Commands of plugins add their own. The [error tables](errors.md) say which error has which.',
  ].join('\n');
}

function help(words: readonly string[]): string {
  const parsed = parseCommandLine([...words, '--help'], CORE_VERSION, STYLE);
  if (parsed.kind !== 'text') throw new Error(`runtime ${words.join(' ')} --help prints no help`);
  return block(parsed.text);
}

function foreignHelp(spec: CommandSpec): string {
  const parsed = parseForeign(spec, ['--help'], NO_GLOBALS, STYLE);
  if (!('text' in parsed)) throw new Error(`runtime ${spec.name} --help prints no help`);
  return block(parsed.text);
}

function block(help: string): string {
  // Said once above is enough.
  const text = help.replace(/\nOptions for every command, .*\n/, '');
  return ['```text', text.trim(), '```'].join('\n');
}
