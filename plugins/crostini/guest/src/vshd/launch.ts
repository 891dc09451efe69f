// From the request of a client to what is to be run.

import { accessSync, constants, readlinkSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Message } from '@runtime/sdk/protobuf';
import type { vshTable } from '../../../src/wire/vsh.ts';
import { type Account, findAccount } from './accounts.ts';

export type SetupRequest = Message<typeof vshTable, 'vm_tools.vsh.SetupConnectionRequest'>;

export interface Launch {
  /** The first is the path of the program. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly account: Account;
  readonly pty: WindowSize | undefined;
}

export interface WindowSize {
  /** 0 to 65,535, as are the columns; 0 is unknown. */
  readonly rows: number;
  readonly columns: number;
}

/** Why a request is refused, as its client is told; the words are those of ChromeOS where it has any. */
export class Refusal extends Error {
  override readonly name: string = 'Refusal';
}

/** The shell of the VM itself. Other targets are containers, of which this end has none. */
const VM_SHELL = '/vm_shell';
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** execvp(3) as shells report it. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

export interface LaunchOptions {
  /** `any`: whoever asks has found this container already; default: the VM's shell only. */
  readonly target?: 'any';
  /** When none is named; default as in accounts.ts. */
  readonly defaultUser?: string;
  /** Beneath what the client sends. */
  readonly env?: Readonly<Record<string, string>>;
  /** The only one who may log in; default: everybody. */
  readonly allowedUser?: string | undefined;
  readonly passwd?: string | undefined;
}

/** Its size is bounded by that of a message. @throws Refusal */
export function planLaunch(request: SetupRequest, options: LaunchOptions = {}): Launch {
  const { allowedUser, passwd, defaultUser = '' } = options;
  refuseNul(request);
  const isElsewhere = request.target !== '' && request.target !== VM_SHELL;
  if (isElsewhere && options.target !== 'any') throw new Refusal(`no container "${request.target}" here`);
  const account = findAccount(request.user === '' ? defaultUser : request.user, passwd);
  if (account === undefined) throw new Refusal('could not find user');
  if (allowedUser !== undefined && account.name !== allowedUser) {
    throw new Refusal(`only ${allowedUser} is allowed login`);
  }
  const pty = request.nopty ? undefined : windowSize(request.window_rows, request.window_cols);
  const env = { ...options.env, ...environment(request, account) };
  const cwd = workingFolder(request, account);
  return { argv: programOf(request, account, env.PATH ?? PATH, cwd), env, cwd, account, pty };
}

export function windowSize(rows: number, columns: number): WindowSize {
  const clamp = (value: number): number => Math.min(0xffff, Math.max(0, value));
  return { rows: clamp(rows), columns: clamp(columns) };
}

function refuseNul({ user, env, command, argv, cwd }: SetupRequest): void {
  const texts = [user, command, cwd, ...argv, ...env.keys(), ...env.values()];
  if (texts.some((text) => text.includes('\0'))) throw new Refusal('a text has a byte 0');
  if (env.keys().some((key) => key === '' || key.includes('='))) throw new Refusal('a variable has no name');
}

function environment({ env, nopty }: SetupRequest, { name, home, shell }: Account): Record<string, string> {
  return {
    ...{ PATH, SHELL: shell, HOME: home, USER: name, LOGNAME: name },
    // Else editors take what is typed for bytes.
    ...(nopty ? {} : { TERM: 'linux', LANG: 'C.UTF-8' }),
    ...Object.fromEntries(env),
  };
}

function workingFolder({ cwd, cwd_pid: pid }: SetupRequest, { home }: Account): string {
  if (cwd !== '') {
    const folder = resolve(home, cwd);
    if (!isFolder(folder)) throw new Refusal(`no folder "${cwd}"`);
    return folder;
  }
  // Only a wish: the process may have gone.
  const ofProcess = pid > 0 ? folderOfProcess(pid) : undefined;
  return [ofProcess, home].find((folder) => folder !== undefined && isFolder(folder)) ?? '/';
}

function folderOfProcess(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** A login shell, a command for the shell, or a program with its arguments. */
function programOf({ command, argv }: SetupRequest, { shell }: Account, path: string, cwd: string): readonly string[] {
  const [program, ...args] = argv;
  if (program !== undefined) {
    const found = findProgram(program, path, cwd);
    if (typeof found === 'string') return [found, ...args];
    const why = found === NOT_FOUND ? 'command not found' : 'permission denied';
    // As a shell tells it, so that every client can.
    return ['/bin/sh', '-c', `printf '%s: ${why}\\n' "$0" >&2; exit ${found}`, program];
  }
  const usable = typeof findProgram(shell, path, '/') === 'string' ? shell : '/bin/sh';
  if (command !== '') return [usable, '-c', command];
  // Not argv0 "-bash" as in ChromeOS: programs between here and the shell cannot hand that on. It means the same.
  return [usable, ...(LOGIN_SHELLS.has(basename(usable)) ? ['-l'] : [])];
}

const LOGIN_SHELLS: ReadonlySet<string> = new Set(['sh', 'bash', 'dash', 'zsh', 'ksh', 'fish', 'ash']);

/** Its path, or the exit code that tells why there is none. */
function findProgram(name: string, path: string, cwd: string): string | number {
  const candidates = name.includes('/')
    ? [resolve(cwd, name)]
    : path.split(':').map((folder) => resolve(cwd, folder, name));
  let code = NOT_FOUND;
  for (const candidate of name === '' ? [] : candidates) {
    const status = statSync(candidate, { throwIfNoEntry: false });
    if (status === undefined) continue;
    if (status.isFile() && isExecutable(candidate)) return candidate;
    code = NOT_EXECUTABLE;
  }
  return code;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
