// Taking the name of the control socket, without a moment in which two runtimes could both believe to have it.
//
// The socket is bound to a temporary name and then given its own with link(2), which fails when the name is taken.
// A name left behind by a runtime that was killed is recognised by the refused connection. Only who holds the *claim* on
// that very file (a second link to one's own socket, named after the inode and change time of the dead one) may replace
// it, and does so by renaming the claim over it: one atomic step. Somebody who saw the same dead file but comes later
// finds either the claim or another file. A claim is a socket that can be probed like any other, so that one left behind
// by a second killed runtime is taken over in the same way.

import { createHash, randomBytes } from 'node:crypto';
import { type BigIntStats, lstatSync } from 'node:fs';
import { chmod, link, readdir, rename, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { errors } from '../core-errors.ts';
import { checkSocketPathLength, makeSocketFolder } from './socket-path.ts';

const MAX_ATTEMPTS = 100;
const RETRY_MS = 20;
/** Claims on claims: each needs another runtime that was killed within the same few milliseconds. */
const MAX_DEPTH = 4;
const PROBE_MS = 5_000;
const TEMPORARY = /^\.[0-9a-f]{10}$/;
const SWEEP_AFTER_MS = 60_000;

export interface ClaimedSocket {
  /** Removes the name, unless it is another's by now. Call it before the server stops listening. */
  release(): Promise<void>;
}

/**
 * Makes `server` listen on `path`, mode 0600, in a folder of mode 0700.
 * @throws CORE_ERR_RUNTIME_RUNNING, CORE_ERR_CONTROL_PATH
 */
export async function claimSocket(server: Server, path: string, probe: Probe = answers): Promise<ClaimedSocket> {
  makeSocketFolder(path);
  const temporary = join(dirname(path), `.${randomBytes(5).toString('hex')}`);
  for (const name of [path, temporary]) checkSocketPathLength(name);
  await listen(server, temporary, path);
  try {
    // Until it has its name nobody can connect to it: the folder is ours alone, and the name is not known.
    await chmod(temporary, 0o600);
    const own = statSocket(temporary, path);
    await takeName({ temporary, path, probe });
    await sweep(path);
    return {
      async release() {
        const now = lstatSync(path, { bigint: true, throwIfNoEntry: false });
        if (now?.ino === own?.ino && now?.dev === own?.dev) await unlink(path).catch(ignoreMissing);
      },
    };
  } finally {
    await unlink(temporary).catch(ignoreMissing);
  }
}

function listen(server: Server, temporary: string, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(unusable(path, 'a socket cannot be bound in its folder', 'See the cause.', cause)),
    );
    server.listen(temporary, resolve);
  });
}

interface Taking {
  /** Our socket. */
  readonly temporary: string;
  /** The name it is to have. */
  readonly path: string;
  readonly probe: Probe;
}

async function takeName(taking: Taking): Promise<void> {
  const { path } = taking;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const outcome = await take(taking, path, 0);
    if (outcome === 'taken') return;
    if (outcome === 'alive') throw errors.CORE_ERR_RUNTIME_RUNNING({ details: { path } });
    await delay(RETRY_MS);
  }
  throw unusable(path, 'other runtimes kept taking it over', 'Start one runtime at a time.');
}

/** `changed`: somebody else is at it; look again. */
async function take(taking: Taking, name: string, depth: number): Promise<'taken' | 'alive' | 'changed'> {
  const { temporary, path, probe } = taking;
  if (await tryLink(temporary, name, path)) return 'taken';
  const found = statSocket(name, path);
  if (found === undefined) return 'changed';
  if (await probe(name)) return 'alive';
  if (depth === MAX_DEPTH) return 'changed';
  const claim = claimName(name, found);
  if ((await take(taking, claim, depth + 1)) !== 'taken') return 'changed';
  if (sameFile(statSocket(name, path), found)) {
    await rename(claim, name);
    return 'taken';
  }
  await unlink(claim).catch(ignoreMissing);
  return 'changed';
}

/** Temporary names that a runtime left behind when it was killed while it started. */
async function sweep(path: string): Promise<void> {
  const folder = dirname(path);
  for (const entry of await readdir(folder)) {
    if (!TEMPORARY.test(entry)) continue;
    const name = join(folder, entry);
    const found = lstatSync(name, { bigint: true, throwIfNoEntry: false });
    // Nobody is at work on a name for that long.
    if (!found?.isSocket() || Date.now() - Number(found.ctimeMs) < SWEEP_AFTER_MS) continue;
    if (await answers(name)) continue;
    await unlink(name).catch(ignoreMissing);
  }
}

async function tryLink(existing: string, name: string, path: string): Promise<boolean> {
  try {
    await link(existing, name);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw unusable(path, 'its name cannot be made', 'Use a folder on a file system with hard links.', cause);
  }
}

function claimName(name: string, file: BigIntStats): string {
  const identity = `${file.dev}:${file.ino}:${file.ctimeNs}`;
  return join(dirname(name), `.${createHash('sha256').update(identity).digest('hex').slice(0, 10)}`);
}

function sameFile(a: BigIntStats | undefined, b: BigIntStats): boolean {
  return a !== undefined && a.dev === b.dev && a.ino === b.ino && a.ctimeNs === b.ctimeNs;
}

function statSocket(name: string, path: string): BigIntStats | undefined {
  const status = lstatSync(name, { bigint: true, throwIfNoEntry: false });
  if (status !== undefined && !status.isSocket()) {
    throw unusable(path, 'something that is not a socket has its name', `Move ${name} away.`);
  }
  return status;
}

/** Whether somebody listens. */
export type Probe = (socketPath: string) => Promise<boolean>;

/** Anything but a plain refusal counts as life, or is an error: a name must never be taken from the living. */
export function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const finish = (settle: () => void): void => {
      socket.destroy();
      settle();
    };
    socket.setTimeout(PROBE_MS, () => finish(() => resolve(true)));
    socket.once('connect', () => finish(() => resolve(true)));
    socket.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ECONNREFUSED' || cause.code === 'ENOENT') finish(() => resolve(false));
      else if (cause.code === 'EAGAIN') finish(() => resolve(true));
      else finish(() => reject(unusable(path, 'it cannot be probed', 'See the cause.', cause)));
    });
  });
}

function unusable(path: string, why: string, hint: string, cause?: unknown): Error {
  return errors.CORE_ERR_CONTROL_PATH({ details: { path, why, hint }, cause });
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
