// The programs between fork and the child's own program. None of ours is compiled: they are a shell and util-linux.
//
//   setpriv --pdeathsig KILL  →  sh (the gate)  →  prlimit  →  the program
//
// Each replaces itself by the next, so the pid stays. The gate is a shell that reads one line from standard input before
// it goes on. The runtime writes that line only after it has recorded the child and moved it to its cgroup: killed before,
// it leaves a shell that reads end-of-file and ends. Killed after, PR_SET_PDEATHSIG ends the child; should the runtime
// have died before that was set, the gate sees another parent than it was told, and ends too.

import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { delimiter, join, resolve as resolvePath } from 'node:path';
import type { Logger } from '../logging.ts';
import { rlimitName } from './plan.ts';
import type { SpawnPlan } from './types.ts';

const SHELL = '/bin/sh';
/** `$0` of the shell: the first word of its complaints. */
const GATE_NAME = 'runtime-gate';
export const GATE_LINE = 'go\n';
/** Exit code of a gate that was never opened. */
export const GATE_SHUT = 125;
/** Variables that shells make up; they are not the child's unless the plan names them. */
const SHELL_VARIABLES = ['PWD', 'OLDPWD', 'SHLVL', 'RUNTIME_GATE'];
/** Seconds may pass under load; a tool that hangs for longer does not work. */
const PROBE_MS = 10_000;
const FALLBACK_PATH = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'];

/** A program of the system: in PATH, or where distributions put it. */
export function findTool(name: string): string | undefined {
  return findIn([...(process.env.PATH ?? '').split(delimiter), ...FALLBACK_PATH], name);
}

function findIn(folders: readonly string[], name: string): string | undefined {
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find((file) => obstacle(file) === undefined);
}

/** Why it cannot be executed. */
function obstacle(file: string): string | undefined {
  try {
    if (!statSync(file).isFile()) return `${file} is not a file`;
    accessSync(file, constants.X_OK);
    return undefined;
  } catch (e) {
    const { code } = e as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return `${file} does not exist`;
    return code === 'EACCES' ? `${file} may not be executed` : `${file}: ${code}`;
  }
}

/** The program of a plan as an absolute path, or why there is none: told apart here, since a shell would merely exit. */
export function findProgram({ argv, cwd, env }: SpawnPlan): { readonly file: string } | { readonly why: string } {
  const folder = cwd ?? process.cwd();
  if (cwd !== undefined && !statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) {
    return { why: `its folder ${cwd} does not exist` };
  }
  const [name] = argv;
  if (!name.includes('/')) {
    const file = findIn((env.PATH ?? '').split(delimiter), name);
    return file === undefined ? { why: `${name} is not in its PATH (${env.PATH ?? 'which is not set'})` } : { file };
  }
  const file = resolvePath(folder, name);
  const why = obstacle(file);
  return why === undefined ? { file } : { why };
}

/** Path of a `setpriv` that can set the parent-death signal (the one of busybox cannot); found once. */
export class DeathSignal {
  readonly #log: Logger;
  readonly #find: (name: string) => string | undefined;
  #setpriv: Promise<string | undefined> | undefined;

  constructor(log: Logger, find: (name: string) => string | undefined = findTool) {
    this.#log = log;
    this.#find = find;
  }

  setpriv(): Promise<string | undefined> {
    this.#setpriv ??= this.#probe();
    return this.#setpriv;
  }

  async #probe(): Promise<string | undefined> {
    const file = this.#find('setpriv');
    const works = file !== undefined && (await succeeds(file, ['--pdeathsig', 'KILL', '--', SHELL, '-c', ':']));
    // The signal comes when the thread that forked ends, prctl(2): the one that the runtime lives in.
    if (works) return file;
    this.#log.warn(
      'setpriv of util-linux is missing, so children outlive a runtime that is killed, until the next one starts',
    );
    return undefined;
  }
}

function succeeds(file: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(file, args, { timeout: PROBE_MS, env: {} }, (error) => resolve(error === null));
  });
}

export interface Wrapped {
  readonly argv: readonly [file: string, ...args: string[]];
  /** /proc/<pid>/cmdline of each wrapper, in Latin-1: as long as it shows one of them the program has not begun. */
  readonly commandLines: ReadonlySet<string>;
}

export interface WrapOptions {
  readonly plan: SpawnPlan;
  /** The program, as an absolute path. */
  readonly file: string;
  readonly setpriv: string | undefined;
  readonly prlimit: string | undefined;
  /** It ends with the runtime. */
  readonly tied: boolean;
  /** Standard input stays what the gate was opened by; otherwise it is empty. */
  readonly keepStdin: boolean;
}

export function wrap({ plan, file, setpriv, prlimit, tied, keepStdin }: WrapOptions): Wrapped {
  const program = [file, ...plan.argv.slice(1)];
  const limited = prlimit === undefined ? program : [prlimit, ...plan.rlimits.map(limitOption), '--', ...program];
  const forget = SHELL_VARIABLES.filter((name) => !(name in plan.env));
  const script = [
    `IFS= read -r RUNTIME_GATE${tied ? ' && [ "$PPID" = "$1" ]' : ''} || exit ${GATE_SHUT}`,
    'shift',
    `unset ${forget.join(' ')}`,
    `exec "$@"${keepStdin ? '' : ' </dev/null'}`,
  ].join('; ');
  const gate = [SHELL, '-c', script, GATE_NAME, String(process.pid), ...limited] as const;
  const first = tied && setpriv !== undefined ? ([setpriv, '--pdeathsig', 'KILL', '--', ...gate] as const) : gate;
  const steps = [first, gate, ...(prlimit === undefined ? [] : [limited])];
  return { argv: [...first], commandLines: new Set(steps.map(commandLine)) };
}

function limitOption({ resource, soft, hard }: SpawnPlan['rlimits'][number]): string {
  return `--${rlimitName(resource)}=${soft}:${hard}`;
}

function commandLine(argv: readonly string[]): string {
  return Buffer.from(argv.map((part) => `${part}\0`).join('')).toString('latin1');
}

/** What a wrapper said when it could not start the next program. */
export function isComplaint(line: string): boolean {
  return line.startsWith(`${GATE_NAME}: `) || line.startsWith('prlimit: ') || line.startsWith('setpriv: ');
}

/** `unclear`: between two programs, or already ended. */
export function progress(pid: number, { commandLines }: Wrapped): 'wrapped' | 'executed' | 'unclear' {
  let line: string;
  try {
    line = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return 'unclear';
  }
  if (line === '') return 'unclear';
  return commandLines.has(line) ? 'wrapped' : 'executed';
}
