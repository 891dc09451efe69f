// Finds what children left behind and ends it. A descendant is known by the variable RUNTIME_CHILD that it inherited, or
// by the session or process group of the child, whose number nobody else can have got before the child ended.

import { closeSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { NativeHost } from '../host.ts';
import { type ProcessIdentity, type ProcessStat, readStat } from './identity.ts';

/** Of every child and what it starts: `<instance>/<plugin>/<key>`. */
export const COOKIE_VARIABLE = 'RUNTIME_CHILD';

export interface Family {
  readonly cookie: string;
  /** The child itself; it leads a session and a process group of its number. */
  readonly leader: ProcessIdentity;
  /** Start time (ticks since boot) after which the leader's number may be somebody else's. */
  readonly until: number;
}

/** How often to look again: what is being ended may have started something just before. */
const MAX_ROUNDS = 20;
const ROUND_MS = 25;

/** Sends `signal` to that very process. False when it is gone, or is not ours to signal. */
export function signalProcess(
  target: Pick<ProcessIdentity, 'pid' | 'start'>,
  signal: NodeJS.Signals,
  native: NativeHost | undefined,
): boolean {
  let pidfd: number | undefined;
  try {
    // First the descriptor, then the comparison: what the descriptor names cannot change any more.
    pidfd = native?.pidfdOpen(target.pid);
    if (readStat(target.pid)?.start !== target.start) return false;
    if (native !== undefined && pidfd !== undefined) return native.pidfdSignal(pidfd, signal);
    return process.kill(target.pid, signal);
  } catch {
    return false;
  } finally {
    if (pidfd !== undefined) closeSync(pidfd);
  }
}

/** Living members of the group or session that `leader` leads, itself included. */
export async function members(leader: Pick<ProcessIdentity, 'pid' | 'start'>): Promise<readonly ProcessStat[]> {
  const found: ProcessStat[] = [];
  for (const pid of await allPids()) {
    const stat = readStat(pid);
    if (stat !== undefined && belongs(stat, leader.pid) && stat.start >= leader.start) found.push(stat);
  }
  return found;
}

function belongs(stat: ProcessStat, leader: number): boolean {
  return (stat.session === leader || stat.pgrp === leader) && stat.state !== 'Z' && stat.state !== 'X';
}

async function allPids(): Promise<readonly number[]> {
  const names = await readdir('/proc');
  return names.map(Number).filter((pid) => Number.isInteger(pid) && pid !== process.pid);
}

/** Value of RUNTIME_CHILD in the environment a process was started with; `undefined` also when it may not be read. */
export async function readCookie(pid: number): Promise<string | undefined> {
  try {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8');
    const prefix = `${COOKIE_VARIABLE}=`;
    return environment
      .split('\0')
      .find((entry) => entry.startsWith(prefix))
      ?.slice(prefix.length);
  } catch {
    return undefined;
  }
}

/** Ends families after their leaders ended. One look through /proc serves all that wait for it. */
export class FamilySweeper {
  readonly #native: NativeHost | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #next: { readonly families: Family[]; readonly done: Promise<void> } | undefined;

  constructor(native: NativeHost | undefined) {
    this.#native = native;
  }

  /** Resolves when nothing of the family is left, or what is left cannot be ended (blocked in the kernel). */
  sweep(family: Family): Promise<void> {
    if (this.#next === undefined) {
      const families: Family[] = [];
      const done = this.#running.then(() => {
        this.#next = undefined;
        return this.#sweepAll(families);
      });
      this.#next = { families, done };
      this.#running = done.catch(() => {});
    }
    this.#next.families.push(family);
    return this.#next.done;
  }

  async #sweepAll(families: readonly Family[]): Promise<void> {
    const cookies = new Set(families.map(({ cookie }) => cookie));
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      let found = 0;
      for (const pid of await allPids()) {
        const stat = readStat(pid);
        if (stat === undefined || stat.state === 'Z' || stat.state === 'X') continue;
        const cookie = await readCookie(pid);
        const kin = cookie === undefined ? families.some((family) => isKin(stat, family)) : cookies.has(cookie);
        if (!kin) continue;
        found += 1;
        signalProcess(stat, 'SIGKILL', this.#native);
      }
      if (found === 0) return;
      await pause(ROUND_MS);
    }
  }
}

/** For those that cleared their environment: in the leader's session or group, and from the time it was the leader's. */
function isKin(stat: ProcessStat, { leader, until }: Family): boolean {
  return belongs(stat, leader.pid) && stat.start >= leader.start && stat.start <= until;
}
