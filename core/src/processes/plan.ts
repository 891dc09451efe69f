// From a request to the plan that the hook sees, and from what the hook answers to what is carried out.

import { errors } from '../core-errors.ts';
import type { RuntimeError } from '../errors.ts';
import { COOKIE_VARIABLE } from './descendants.ts';
import type { ChildFd, SpawnPlan, SpawnRequest } from './types.ts';

/** Highest descriptor number that a child can be given. */
export const MAX_FD = 255;
const MAX_KEY = 256;
const MAX_ARGUMENTS = 4096;
/** Bytes of argv and environment together; execve(2) allows a quarter of the stack limit, at least this. */
const MAX_ARGUMENT_BYTES = 1024 * 1024;
/** Bytes of one string, MAX_ARG_STRLEN in execve(2). */
const MAX_ARGUMENT = 128 * 1024 - 1;
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** What a child inherits when nothing else is said. */
const INHERITED = ['LANG', 'HOME', 'XDG_RUNTIME_DIR'];

export const READY_VARIABLE = 'RUNTIME_READY_FD';

/** Names of the options of prlimit(1); those of getrlimit(2) without RLIMIT_, in lower case. */
const RLIMITS: ReadonlySet<string> = new Set([
  ...['as', 'core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile', 'nproc', 'rss'],
  ...['rtprio', 'rttime', 'sigpending', 'stack'],
]);

/** `RLIMIT_NOFILE` or `nofile` → `nofile` */
export function rlimitName(resource: string): string {
  return resource.toLowerCase().replace(/^rlimit_/, '');
}

function refuse(plugin: string, key: string, why: string): RuntimeError<'CORE_ERR_SPAWN_PLAN'> {
  return errors.CORE_ERR_SPAWN_PLAN({ plugin, details: { name: `${plugin}/${key}`, why } });
}

export function createPlan(request: SpawnRequest, plugin: string, cookie: string): SpawnPlan {
  const { key, kind, argv, fds = [], jailRequired = false, rlimits = [] } = request;
  const inherited = Object.fromEntries(INHERITED.flatMap((name) => entryOf(name)));
  const ready = request.ready === 'notify' ? { [READY_VARIABLE]: String(firstFree(fds)) } : {};
  return {
    key,
    plugin,
    kind,
    argv,
    // The cookie comes first: what looks for it in /proc/<pid>/environ finds it at once.
    env: {
      [COOKIE_VARIABLE]: cookie,
      PATH: process.env.PATH ?? DEFAULT_PATH,
      ...inherited,
      ...request.env,
      ...ready,
    },
    fds,
    jailRequired,
    rlimits,
    ...(request.cwd === undefined ? {} : { cwd: request.cwd }),
    ...(request.jail === undefined ? {} : { jail: request.jail }),
    ...(request.cgroup === undefined ? {} : { cgroup: request.cgroup }),
  };
}

function entryOf(name: string): [string, string][] {
  const value = process.env[name];
  return value === undefined ? [] : [[name, value]];
}

function firstFree(fds: readonly ChildFd[]): number {
  const taken = new Set(fds.map(({ child }) => child));
  let free = 3;
  while (taken.has(free)) free += 1;
  return free;
}

/** The descriptor on which the child is to say that it is ready. */
export function readyFd(plan: SpawnPlan): number | undefined {
  const text = plan.env[READY_VARIABLE];
  return text === undefined ? undefined : Number(text);
}

/** @throws CORE_ERR_SPAWN_PLAN */
export function checkRequest(request: SpawnRequest, plugin: string, stateDirectory: string | undefined): void {
  const { key, detached = false, stdio = 'log', ready } = request;
  const shown = key.slice(0, MAX_KEY);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused.
  if (key === '' || key.length > MAX_KEY || /[\0-\x1f\x7f]/.test(key) || !key.isWellFormed()) {
    throw refuse(plugin, shown, `its key must be 1 to ${MAX_KEY} characters, none of them a control character`);
  }
  if (detached && stdio === 'pipe') {
    throw refuse(plugin, key, 'a detached child cannot talk over pipes that end with the runtime');
  }
  if (detached && stateDirectory === undefined) {
    throw refuse(plugin, key, 'a detached child needs a runtime with a state directory, to be found again');
  }
  if (stdio === 'pipe' && typeof ready === 'object') {
    throw refuse(
      plugin,
      key,
      'its output belongs to the caller, so it cannot be searched for the line that says ready',
    );
  }
}

/** Checks what the hook answered. Key, owner and cookie stay what they were. @throws CORE_ERR_SPAWN_PLAN */
export function checkPlan(asked: SpawnPlan, answered: SpawnPlan): SpawnPlan {
  const { key, plugin } = asked;
  const cookie = asked.env[COOKIE_VARIABLE] ?? '';
  const plan = { ...answered, key, plugin, env: { [COOKIE_VARIABLE]: cookie, ...answered.env } };
  plan.env[COOKIE_VARIABLE] = cookie;
  const why = argumentProblem(plan) ?? fdProblem(plan) ?? rlimitProblem(plan);
  if (why !== undefined) throw refuse(plugin, key, why);
  if (plan.jail !== undefined && plan.jailRequired) throw refuse(plugin, key, 'no plugin carries out its jail');
  return plan;
}

function argumentProblem({ argv, env, cwd }: SpawnPlan): string | undefined {
  if (argv[0] === '' || argv.length > MAX_ARGUMENTS)
    return `argv must have 1 to ${MAX_ARGUMENTS} parts, the first not empty`;
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const strings = [...argv, ...variables, cwd ?? ''];
  if (strings.some((s) => s.includes('\0'))) return 'a NUL in argv, environment or folder';
  if (Object.keys(env).some((name) => name === '' || name.includes('='))) return 'a variable without a proper name';
  const sizes = strings.map((s) => Buffer.byteLength(s) + 1);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  if (total > MAX_ARGUMENT_BYTES) return `argv and environment have ${total} bytes, the limit is ${MAX_ARGUMENT_BYTES}`;
  if (sizes.some((size) => size > MAX_ARGUMENT))
    return `a string in argv or environment has more than ${MAX_ARGUMENT} bytes`;
  return undefined;
}

function fdProblem(plan: SpawnPlan): string | undefined {
  const ready = readyFd(plan);
  const numbers = [...plan.fds.map(({ child }) => child), ...(ready === undefined ? [] : [ready])];
  const bad = numbers.find((fd) => !Number.isInteger(fd) || fd < 3 || fd > MAX_FD);
  if (bad !== undefined) return `descriptor ${bad} is not between 3 and ${MAX_FD}`;
  const twice = numbers.find((fd, at) => numbers.indexOf(fd) !== at);
  if (twice !== undefined) return `descriptor ${twice} is given twice`;
  const closed = plan.fds.find(({ parent }) => !Number.isInteger(parent) || parent < 0);
  return closed === undefined ? undefined : `descriptor ${closed.child} has no counterpart here (${closed.parent})`;
}

function rlimitProblem({ rlimits }: SpawnPlan): string | undefined {
  const unknown = rlimits.find(({ resource }) => !RLIMITS.has(rlimitName(resource)));
  if (unknown !== undefined) return `there is no resource limit "${unknown.resource}"`;
  const values = rlimits.flatMap(({ soft, hard }) => [soft, hard]);
  return values.some((v) => v !== 'unlimited' && v < 0n) ? 'a resource limit is negative' : undefined;
}
