// Which process is meant. A pid alone does not say: it is used again. A pid with its start time and the boot it belongs
// to does, proc_pid_stat(5).

import { readFileSync } from 'node:fs';

export interface ProcessStat {
  readonly pid: number;
  /** One letter, proc_pid_stat(5): R, S, D, Z, … */
  readonly state: string;
  readonly ppid: number;
  readonly pgrp: number;
  readonly session: number;
  /** Clock ticks between boot and the start of the process (field 22). */
  readonly start: number;
}

/** `undefined` when there is no such process, or it may not be seen. A zombie is still one. */
export function readStat(pid: number | 'self'): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  return parseStat(text);
}

/** The name (field 2) is in parentheses and may itself hold parentheses and blanks: the last `)` ends it. */
export function parseStat(text: string): ProcessStat | undefined {
  const nameEnd = text.lastIndexOf(')');
  const fields = text.slice(nameEnd + 2).split(' ');
  const [state, ppid, pgrp, session] = fields;
  const stat = {
    pid: Number.parseInt(text, 10),
    state: state ?? '',
    ppid: Number(ppid),
    pgrp: Number(pgrp),
    session: Number(session),
    start: Number(fields[19]),
  };
  const whole = nameEnd > 0 && Object.values(stat).every((v) => typeof v === 'string' || Number.isSafeInteger(v));
  return whole ? stat : undefined;
}

/** One process of one boot, and never another. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot. */
  readonly start: number;
  /** /proc/sys/kernel/random/boot_id */
  readonly boot: string;
}

let boot: string | undefined;
export function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  return boot;
}

/** `undefined` when there is no such process. */
export function identify(pid: number | 'self'): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined ? undefined : { pid: stat.pid, start: stat.start, boot: bootId() };
}

/** It still runs. A zombie does not: nothing of it is left but its number. */
export function isAlive(process: ProcessIdentity): boolean {
  if (process.boot !== bootId()) return false;
  const stat = readStat(process.pid);
  return stat !== undefined && stat.start === process.start && stat.state !== 'Z' && stat.state !== 'X';
}

/** Of every process field in ticks, USER_HZ: a constant of the Linux ABI, times(2). */
const TICKS_PER_SECOND = 100;

/** Clock ticks since boot; a process that starts later has a `start` of at least this. */
export function ticksNow(): number {
  // Seconds with two decimals, rounded down by the kernel as `start` is; the product is whole but for its last bits.
  return Math.round(Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * TICKS_PER_SECOND);
}
