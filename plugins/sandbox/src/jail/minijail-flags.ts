// The command line of minijail0(1) and its configuration files, minijail0(5), as flags in their order.

import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { didYouMean } from '@runtime/sdk';
import { errors } from '../errors.ts';

export interface Flag {
  /** A letter, or a long name. */
  readonly name: string;
  readonly value: string | undefined;
  /** As an error should call it. */
  readonly shown: string;
}

export interface CommandLine {
  readonly flags: readonly Flag[];
  /** The program and its arguments. */
  readonly program: readonly string[];
}

type Takes = 'nothing' | 'a value' | 'perhaps a value';

/** As in getopt(3); a value that may be left out is written without a space. */
const SHORT = '+a:b:c:de::f:g:hik:lm::nprst::u:vwyzB:C:GHIK::LM::NP:R:S:T:UV:Y';
const LONG: Readonly<Record<string, readonly [takes: Takes, letter?: string]>> = {
  help: ['nothing', 'h'],
  'mount-dev': ['nothing', 'd'],
  ambient: ['nothing'],
  uts: ['perhaps a value'],
  logging: ['a value'],
  profile: ['a value'],
  'preload-library': ['a value'],
  'seccomp-bpf-binary': ['a value'],
  'add-suppl-group': ['a value'],
  'allow-speculative-execution': ['nothing'],
  config: ['a value'],
  'gen-config': ['a value'],
  'env-add': ['a value'],
  'env-reset': ['nothing'],
  mount: ['a value', 'k'],
  'bind-mount': ['a value', 'b'],
  'ns-mount': ['nothing', 'v'],
  'enable-profile-fs-restrictions': ['nothing'],
  'fs-default-paths': ['nothing'],
  'fs-path-rx': ['a value'],
  'fs-path-ro': ['a value'],
  'fs-path-rw': ['a value'],
  'fs-path-advanced-rw': ['a value'],
  'landlock-abi': ['a value'],
  'no-default-runtime-environment': ['nothing'],
  'no-fs-restrictions': ['nothing'],
  'no-new-sessions': ['nothing'],
  'preserve-fd': ['a value'],
};

const MAX_CONFIG_BYTES = 2 ** 20;
const CONFIG_HEADING = '% minijail-config-file v0';

const fail = (flag: string, why: string) => errors.SANDBOX_ERR_FLAG({ details: { flag, why } });

function shortTakes(letter: string): Takes | undefined {
  const at = /[a-zA-Z]/.test(letter) ? SHORT.indexOf(letter) : -1;
  if (at < 0) return undefined;
  if (SHORT.startsWith('::', at + 1)) return 'perhaps a value';
  return SHORT[at + 1] === ':' ? 'a value' : 'nothing';
}

/** @param cwd what the path of a configuration file is relative to @throws SANDBOX_ERR_FLAG */
export function readCommandLine(argv: readonly string[], cwd: string): CommandLine {
  const flags: Flag[] = [];
  const add = (flag: Flag): void => {
    if (flag.name !== 'config') return void flags.push(flag);
    flags.push(...readConfig(resolve(cwd, flag.value ?? '')));
  };
  let at = 0;
  for (; at < argv.length; at++) {
    const word = argv[at] as string;
    if (word === '--') {
      at++;
      break;
    }
    if (!word.startsWith('-') || word === '-') break;
    if (word.startsWith('--')) at += addLong(word, argv[at + 1], add);
    else at += addShort(word, argv[at + 1], add);
  }
  return { flags, program: argv.slice(at) };
}

/** Returns how many words it took beside its own. */
function addLong(word: string, next: string | undefined, add: (flag: Flag) => void): number {
  const [, typed = '', , value] = /^--([^=]*)(=([\s\S]*))?$/.exec(word) ?? [];
  const name = longName(typed);
  const [takes, letter = name] = LONG[name] as readonly [Takes, string?];
  const shown = `--${name}`;
  if (takes === 'nothing' && value !== undefined) throw fail(shown, 'it takes no value');
  if (takes === 'a value' && value === undefined) {
    if (next === undefined) throw fail(shown, 'a value must follow');
    add({ name: letter, value: next, shown });
    return 1;
  }
  add({ name: letter, value, shown });
  return 0;
}

/** getopt_long(3) takes the beginning of a name where that is clear. */
function longName(typed: string): string {
  if (Object.hasOwn(LONG, typed)) return typed;
  const meant = Object.keys(LONG).filter((name) => name.startsWith(typed));
  if (meant.length === 1) return meant[0] as string;
  const why =
    meant.length === 0
      ? `minijail0 has no such flag${didYouMean(typed, Object.keys(LONG))}`
      : `may be ${meant.join(' or ')}`;
  throw fail(`--${typed}`, why);
}

function addShort(word: string, next: string | undefined, add: (flag: Flag) => void): number {
  for (let at = 1; at < word.length; at++) {
    const name = word[at] as string;
    const shown = `-${name}`;
    const takes = shortTakes(name);
    if (takes === undefined) throw fail(shown, 'minijail0 has no such flag');
    if (takes === 'nothing') {
      add({ name, value: undefined, shown });
      continue;
    }
    const rest = word.slice(at + 1);
    if (rest !== '' || takes === 'perhaps a value') {
      add({ name, value: rest === '' ? undefined : rest, shown });
      return 0;
    }
    if (next === undefined) throw fail(shown, 'a value must follow');
    add({ name, value: next, shown });
    return 1;
  }
  return 0;
}

/** @throws SANDBOX_ERR_FLAG with file and line */
export function readConfig(file: string): readonly Flag[] {
  let text: string;
  try {
    if (statSync(file).size > MAX_CONFIG_BYTES) throw fail(file, `it has over ${MAX_CONFIG_BYTES} bytes`);
    text = readFileSync(file, 'utf8');
  } catch (e) {
    throw e instanceof Error && 'errno' in e ? fail('--config', e.message) : e;
  }
  return parseConfig(text, file);
}

/** @throws SANDBOX_ERR_FLAG with file and line */
export function parseConfig(text: string, file: string): readonly Flag[] {
  const lines = text.split('\n');
  if (lines[0] !== CONFIG_HEADING) throw fail(`${file}:1`, `the first line must be "${CONFIG_HEADING}"`);
  const flags: Flag[] = [];
  for (let at = 1; at < lines.length; at++) {
    const shown = `${file}:${at + 1}`;
    let line = lines[at] as string;
    while (line.endsWith('\\') && at + 1 < lines.length)
      line = `${line.slice(0, -1)} ${(lines[++at] as string).trim()}`;
    line = line.trim();
    if (line === '' || line.startsWith('#')) continue;
    const equals = line.indexOf('=');
    const key = (equals < 0 ? line : line.slice(0, equals)).trim();
    const value = equals < 0 ? undefined : line.slice(equals + 1).trim();
    flags.push(configFlag(key, value, shown));
  }
  return flags;
}

function configFlag(key: string, value: string | undefined, shown: string): Flag {
  const long = LONG[key];
  const takes = long?.[0] ?? (key.length === 1 ? shortTakes(key) : undefined);
  if (takes === undefined) throw fail(shown, `minijail0 has no flag "${key}"${didYouMean(key, Object.keys(LONG))}`);
  if (key === 'config') throw fail(shown, 'a configuration file cannot name another');
  if (takes === 'nothing' && value !== undefined) throw fail(shown, `${key} takes no value`);
  if (takes === 'a value' && (value ?? '') === '') throw fail(shown, `${key} needs a value`);
  return { name: long?.[1] ?? key, value, shown: `${shown}: ${key}` };
}
