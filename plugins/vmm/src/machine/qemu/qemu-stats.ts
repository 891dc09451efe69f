// What a machine uses, from /proc (proc(5)) and QEMU.

import { readFileSync } from 'node:fs';
import { PAGE_SIZE } from '@runtime/sdk/linux';

/** USER_HZ, which is 100 on every architecture that this runs on. */
const TICKS_PER_SECOND = 100;

/** `cpu-ms`: CPU time of all its threads; `rss-kib`: resident memory, that of the guest included. Nothing when it is gone. */
export function machineStats(pid: number | undefined): Readonly<Record<string, number>> {
  if (pid === undefined) return {};
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return {
      'cpu-ms': Math.round((ticks * 1000) / TICKS_PER_SECOND),
      'rss-kib': (Number(fields[21]) * PAGE_SIZE) / 1024,
      threads: Number(fields[17]),
    };
  } catch {
    return {};
  }
}
