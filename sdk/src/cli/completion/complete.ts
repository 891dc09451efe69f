// What may come next on the command line, from the table of commands and the manifests of plugins.

import type { CommandOption, CommandSpec } from '@runtime/core';
import {
  CLI_COMMANDS,
  type CliCommand,
  type Completion,
  GLOBAL_COMPLETIONS,
  GLOBAL_OPTIONS,
} from '../command-table.ts';
import { flagOf } from '../parse.ts';

export interface Candidate {
  readonly text: string;
  readonly summary: string;
}
/** Paths are the shell's business. */
export type Answer = readonly Candidate[] | 'file' | 'folder';

/** What is there now; each is asked at most once. */
export interface CompletionSources {
  plugins(): readonly Candidate[];
  running(): Promise<readonly Candidate[]>;
  /** Names and summaries from manifests, with their options where a runtime told them. */
  foreignCommands(): Promise<readonly CommandSpec[]>;
}

const COMMON = Object.keys({ ...GLOBAL_OPTIONS });

/** @param words what stands after `runtime`; the last is the one being typed, perhaps empty */
export async function complete(words: readonly string[], sources: CompletionSources): Promise<Answer> {
  const typed = joinAssignments(words);
  const current = typed.at(-1) ?? '';
  const before = typed.slice(0, -1);
  const operands = operandsOf(before);
  const isBuiltIn = CLI_COMMANDS.some(({ name }) => name.split(' ')[0] === operands[0]);
  const foreign = operands.length > 0 && isBuiltIn ? [] : await sources.foreignCommands();
  const command = longest([...CLI_COMMANDS, ...foreign], operands);
  const options: Readonly<Record<string, CommandOption>> = { ...GLOBAL_OPTIONS, ...command?.options };

  const pending = valueOption(before.at(-1), options);
  if (pending !== undefined) return optionValue(pending, options, command, current, '', sources);
  const assigned = /^(--[\w-]+)=(.*)$/s.exec(current);
  if (assigned !== null) {
    const key = valueOption(assigned[1], options);
    // What bash replaces is only what stands behind "=".
    const prefix = words.at(-1) === current ? `${assigned[1]}=` : '';
    return key === undefined ? [] : optionValue(key, options, command, assigned[2] ?? '', prefix, sources);
  }
  if (current.startsWith('-')) return starting(optionCandidates(options, command === undefined), current);
  if (command === undefined) return starting(nextWords([...CLI_COMMANDS, ...foreign], operands), current);
  return argument(command, operands.length - command.name.split(' ').length, current, sources);
}

/** bash breaks words at "=": `--format`, `=`, `json`. */
function joinAssignments(words: readonly string[]): readonly string[] {
  const out: string[] = [];
  for (const word of words) {
    const last = out.at(-1);
    const continues = last !== undefined && (word === '=' ? last.startsWith('--') : /^--[\w-]+=$/.test(last));
    if (continues) out[out.length - 1] = last + word;
    else out.push(word);
  }
  return out;
}

/** Words that are neither options nor their values. */
function operandsOf(words: readonly string[]): readonly string[] {
  const out: string[] = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? '';
    if (!word.startsWith('-')) out.push(word);
    else if (valueOption(word, ALL_OPTIONS) !== undefined) i += 1;
  }
  return out;
}

const ALL_OPTIONS: Readonly<Record<string, CommandOption>> = Object.assign(
  {},
  ...CLI_COMMANDS.map(({ options }) => options),
  GLOBAL_OPTIONS,
) as Readonly<Record<string, CommandOption>>;

/** The key of the option that takes the next word as its value. */
function valueOption(word: string | undefined, options: Readonly<Record<string, CommandOption>>): string | undefined {
  if (word === undefined || !word.startsWith('-')) return undefined;
  return Object.keys(options).find((key) => {
    const option = options[key];
    if (option === undefined || option.type === 'boolean') return false;
    return word === `--${flagOf(key)}` || word === `-${option.short}`;
  });
}

async function optionValue(
  key: string,
  options: Readonly<Record<string, CommandOption>>,
  command: Pick<CliCommand, 'complete'> | CommandSpec | undefined,
  current: string,
  prefix: string,
  sources: CompletionSources,
): Promise<Answer> {
  const own = command !== undefined && 'complete' in command ? command.complete?.[key] : undefined;
  const completion = options[key]?.choices ?? own ?? GLOBAL_COMPLETIONS[key];
  const comma = key === 'plugins' ? current.lastIndexOf(',') + 1 : 0;
  const answer = await resolve(completion, current.slice(comma), sources);
  // A path in a list of plugins is completed by the shell.
  if (typeof answer === 'string') return answer;
  const before = prefix + current.slice(0, comma);
  return answer.map(({ text, summary }) => ({ text: before + text, summary }));
}

function argument(
  command: Pick<CliCommand, 'complete' | 'args'> | CommandSpec,
  index: number,
  current: string,
  sources: CompletionSources,
): Answer | Promise<Answer> {
  const args = command.args ?? [];
  const spec = args[index] ?? (args.at(-1)?.variadic === true ? args.at(-1) : undefined);
  if (spec === undefined) return [];
  const completion = 'complete' in command ? command.complete?.[spec.name] : undefined;
  return resolve(completion, current, sources);
}

async function resolve(
  completion: Completion | undefined,
  current: string,
  sources: CompletionSources,
): Promise<Answer> {
  if (completion === undefined) return [];
  if (completion === 'file' || completion === 'folder') return completion;
  if (completion === 'running-plugin') return starting(await sources.running(), current);
  if (completion === 'plugin') return /^[./~]/.test(current) ? 'folder' : starting(sources.plugins(), current);
  return starting(
    completion.map((text) => ({ text, summary: '' })),
    current,
  );
}

function starting(candidates: readonly Candidate[], current: string): readonly Candidate[] {
  return candidates.filter(({ text }) => text.startsWith(current));
}

function optionCandidates(options: Readonly<Record<string, CommandOption>>, all: boolean): readonly Candidate[] {
  const keys = Object.keys(options);
  // Beside the options of a command, those for every command would only be in the way.
  const shown = all ? keys : keys.filter((key) => !COMMON.includes(key) || key === 'format' || key === 'debug');
  return [
    ...shown.map((key) => ({ text: `--${flagOf(key)}`, summary: options[key]?.summary ?? '' })),
    { text: '--help', summary: 'print help' },
    ...(all ? [{ text: '--version', summary: 'print the version' }] : []),
  ];
}

type Named = Pick<CommandSpec, 'name' | 'summary'>;

/** Distinct words that continue what was typed, each with the summary of its command or the number of those below. */
function nextWords(commands: readonly Named[], operands: readonly string[]): readonly Candidate[] {
  const below = new Map<string, Named[]>();
  for (const command of commands) {
    const parts = command.name.split(' ');
    const word = parts[operands.length];
    if (word === undefined || !operands.every((operand, i) => parts[i] === operand)) continue;
    below.set(word, [...(below.get(word) ?? []), command]);
  }
  return Array.from(below, ([text, list]) => ({
    text,
    summary: list.length === 1 ? (list[0]?.summary ?? '') : list.map(({ name }) => name.split(' ').at(-1)).join(', '),
  }));
}

function longest<C extends Named>(commands: readonly C[], operands: readonly string[]): C | undefined {
  return commands
    .filter(({ name }) => name.split(' ').every((part, i) => operands[i] === part))
    .toSorted((a, b) => b.name.length - a.name.length)[0];
}
