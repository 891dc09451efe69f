// Runs a program in a jail, and answers what minijail0 would exit with.

import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, appendFileSync, closeSync, constants, existsSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { constants as system, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { errors } from '../errors.ts';
import type { IdMap, JailPlan } from '../jail/plan.ts';
import { BLOCK_FD, compose, hostPath, INFO_FD, SECCOMP_FD } from './compose.ts';

/** libminijail.h, MINIJAIL_ERR_*: its first mount failed; a system call was refused. */
export const EXIT = { mount: 251, seccomp: 253, usage: 1 } as const;
const SIGNAL_BASE = 128;
const FORWARDED: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGCONT',
];

/** Where its three first descriptors come from. */
export type Streams = 'inherit' | 'pipe';

export interface Running {
  readonly child: ChildProcess;
  readonly exit: Promise<number>;
}

/** @throws SANDBOX_ERR_UNSUPPORTED, SANDBOX_ERR_POLICY */
export function startPlan(plan: JailPlan, program: readonly string[], cwd: string, streams: Streams): Running | number {
  const why = obstacle(plan, program[0] ?? '');
  if (why !== undefined) {
    process.stderr.write(`${why.text}\n`);
    return why.code;
  }
  const { argv, filter, tells, waits } = compose(plan, program);
  const stdio: ('inherit' | 'pipe' | 'ignore' | number)[] = [streams, streams, streams];
  for (const fd of plan.fds) stdio[fd] = fd;
  const filterFd = filter === undefined ? undefined : fileWith(filter);
  if (filterFd !== undefined) stdio[SECCOMP_FD] = filterFd;
  if (tells) stdio[INFO_FD] = 'pipe';
  if (waits) stdio[BLOCK_FD] = 'pipe';
  const [file, ...args] = argv;
  const child = spawn(file, args, {
    cwd,
    env: environmentOf(plan),
    stdio: Array.from(stdio, (entry) => entry ?? 'ignore'),
    detached: plan.background,
  });
  if (filterFd !== undefined) closeSync(filterFd);
  child.once('spawn', () => {
    for (const folder of plan.cgroups) appendFileSync(join(folder, 'cgroup.procs'), `${child.pid}`);
    if (!tells && plan.pidFile !== undefined) writeFileSync(plan.pidFile, `${child.pid}\n`);
  });
  if (tells) listen(child, plan, waits);
  const stop = plan.forwardSignals && !plan.background ? forward(child) : () => {};
  const exit = new Promise<number>((resolve, reject) => {
    child.once('error', (e) =>
      reject(
        errors.SANDBOX_ERR_UNSUPPORTED({ details: { what: file, why: e.message, hint: 'See whether it is there' } }),
      ),
    );
    child.once('exit', (code, signal) => {
      stop();
      resolve(exitCode(code, signal));
    });
  });
  if (!plan.background) return { child, exit };
  child.unref();
  return { child, exit: Promise.resolve(0) };
}

function exitCode(code: number | null, signal: NodeJS.Signals | null): number {
  const status = signal === null ? (code ?? 0) : SIGNAL_BASE + system.signals[signal];
  return status === SIGNAL_BASE + system.signals.SIGSYS ? EXIT.seccomp : status;
}

/** What would fail in the jail where nobody can say so any more. */
function obstacle(plan: JailPlan, program: string): { readonly text: string; readonly code: number } | undefined {
  const missing = plan.mounts.find(
    ({ kind, source, optional }) => kind === 'bind' && !optional && !existsSync(source ?? ''),
  );
  if (missing !== undefined)
    return { text: `${missing.source} cannot be mounted: it does not exist`, code: EXIT.mount };
  const place = hostPath(plan, program);
  try {
    if (place !== undefined) accessSync(place, constants.X_OK);
    return undefined;
  } catch {
    return {
      text: `the program ${program} cannot be executed${place === program ? '' : ` (it would be ${place})`}`,
      code: EXIT.usage,
    };
  }
}

function environmentOf({ environment: { inherit, set } }: JailPlan): NodeJS.ProcessEnv {
  return { ...(inherit ? process.env : {}), ...set };
}

function fileWith(bytes: Uint8Array): number {
  const path = join(tmpdir(), `.filter-${process.pid}-${Math.random().toString(36).slice(2)}`);
  writeFileSync(path, bytes, { mode: 0o600, flag: 'wx' });
  try {
    return openSync(path, 'r');
  } finally {
    rmSync(path);
  }
}

/** bubblewrap says who its child is, and waits for the maps of its user namespace. */
function listen(child: ChildProcess, plan: JailPlan, waits: boolean): void {
  let text = '';
  streamOf(child, INFO_FD)?.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    const pid = /"child-pid": *(\d+)/.exec(text)?.[1];
    if (pid === undefined) return;
    text = '';
    if (plan.pidFile !== undefined) writeFileSync(plan.pidFile, `${pid}\n`);
    if (!waits || plan.idMaps === undefined) return;
    try {
      writeFileSync(`/proc/${pid}/uid_map`, mapText(plan.idMaps.uid));
      if (process.getuid?.() !== 0) writeFileSync(`/proc/${pid}/setgroups`, 'deny');
      writeFileSync(`/proc/${pid}/gid_map`, mapText(plan.idMaps.gid));
    } catch (e) {
      process.stderr.write(`the maps of users cannot be written: ${(e as Error).message}\n`);
      child.kill('SIGKILL');
    }
    streamOf(child, BLOCK_FD)?.end('x');
  });
}

/** Node's types know only the first five. */
function streamOf(child: ChildProcess, fd: number): Duplex | undefined {
  return (child.stdio as unknown as readonly (Duplex | undefined)[])[fd];
}

const mapText = (maps: readonly IdMap[]): string =>
  maps.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join('');

function forward(child: ChildProcess): () => void {
  const handlers = FORWARDED.map((signal) => [signal, () => void child.kill(signal)] as const);
  for (const [signal, handler] of handlers) process.on(signal, handler);
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}
