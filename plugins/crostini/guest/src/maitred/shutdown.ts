// The end of a machine in order: whoever runs may finish, what was written lies on the disks.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MOUNT } from '@runtime/sdk/linux';
import type { Log } from './log.ts';
import type { System } from './system.ts';

export interface ShutdownOptions {
  /** Between SIGTERM and SIGKILL; default 10 s. */
  readonly graceMs?: number;
  /** Of this process; nobody signals it. Default its own. */
  readonly self?: number;
}

const GRACE_MS = 10_000;
const POLL_MS = 20;
/** SIGKILL needs no answer, only time. */
const KILL_MS = 2000;
const EVERYBODY = -1;

/** What stays mounted to the end: the rest of the way needs it. */
const KEPT = ['/', '/proc', '/sys', '/dev'];

/** Ends all processes, and leaves no disk with anything unwritten. It never throws. */
export async function endEverything(system: System, log: Log, options: ShutdownOptions = {}): Promise<void> {
  const { graceMs = GRACE_MS, self = process.pid } = options;
  const signal = (name: NodeJS.Signals): void => attempt(log, () => system.kill(EVERYBODY, name));
  // Whoever was stopped could not take it.
  signal('SIGTERM');
  signal('SIGCONT');
  for (const pid of leadersAtTerminals(system, self)) attempt(log, () => system.kill(pid, 'SIGHUP'));
  if (!(await allEnded(system, self, graceMs))) {
    log('warning', `some did not end: ${othersIn(system, self).slice(0, 10).join(' ')}`);
    signal('SIGKILL');
    await allEnded(system, self, KILL_MS);
  }
  attempt(log, () => system.sync());
  for (const target of mountPoints(readMounts(system)).reverse()) {
    if (KEPT.includes(target)) continue;
    try {
      system.unmount(system.root + target);
    } catch {
      attempt(log, () => system.unmount(system.root + target, { detach: true }));
    }
  }
  attempt(log, () =>
    system.mount({ source: 'none', target: `${system.root}/`, flags: MOUNT.remount | MOUNT.readOnly }),
  );
  attempt(log, () => system.sync());
}

async function allEnded(system: System, self: number, withinMs: number): Promise<boolean> {
  for (const end = Date.now() + withinMs; ; await sleep(POLL_MS)) {
    if (othersIn(system, self).length === 0) return true;
    if (Date.now() >= end) return false;
  }
}

/** Names of the processes that could still do something. Threads of the kernel have no program, and zombies neither. */
function othersIn(system: System, self: number): string[] {
  return pidsIn(system, self).flatMap((pid) => {
    try {
      return [readlinkSync(`${system.root}/proc/${pid}/exe`)];
    } catch {
      return [];
    }
  });
}

/** Of sessions, proc_pid_stat(5). Shells that somebody types at take no notice of SIGTERM. */
function leadersAtTerminals(system: System, self: number): number[] {
  return pidsIn(system, self).filter((pid) => {
    try {
      const stat = readFileSync(`${system.root}/proc/${pid}/stat`, 'latin1');
      const [, , , session, terminal] = stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
      return session === String(pid) && terminal !== '0';
    } catch {
      return false;
    }
  });
}

function pidsIn(system: System, self: number): number[] {
  return readFolder(`${system.root}/proc`).flatMap((name) =>
    /^\d+$/.test(name) && Number(name) !== self ? [Number(name)] : [],
  );
}

function readFolder(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readMounts(system: System): string {
  try {
    return readFileSync(`${system.root}/proc/self/mounts`, 'utf8');
  } catch {
    return '';
  }
}

/** In the order in which they were mounted. Spaces and the like are octal, proc_pid_mounts(5). */
export function mountPoints(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((target) => target.startsWith('/'))
    .map((target) =>
      target.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    );
}

function attempt(log: Log, fn: () => void): void {
  try {
    fn();
  } catch (e) {
    // Nobody left to be signalled.
    if ((e as NodeJS.ErrnoException).code !== 'ESRCH') log('warning', (e as Error).message);
  }
}
