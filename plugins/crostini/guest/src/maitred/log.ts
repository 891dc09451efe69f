// Lines of maitred in the kernel's log, printk's /dev/kmsg: the host reads it on the console, and dmesg(1) shows it.

import { openSync, writeSync } from 'node:fs';

/** Priorities of syslog(3). */
const PRIORITIES = { error: 3, warning: 4, notice: 5, info: 6 } as const;
export type Priority = keyof typeof PRIORITIES;

export type Log = (priority: Priority, text: string) => void;

/** The kernel takes 1024 bytes at once, the prefix included. */
const LINE_MAX = 900;
/** Of one text: stacks are longer than anybody reads. */
const LINES_MAX = 20;

export function kernelLines(priority: Priority, text: string, program = 'maitred'): string[] {
  return text
    .split('\n', LINES_MAX)
    .filter((line) => line.trim() !== '')
    .map((line) => `<${PRIORITIES[priority]}>${program}: ${line.slice(0, LINE_MAX)}\n`);
}

/** @param file /dev/kmsg; without it nothing is logged */
export function kernelLog(file: string, program?: string): Log {
  let fd: number | undefined;
  return (priority, text) => {
    try {
      fd ??= openSync(file, 'a');
      for (const line of kernelLines(priority, text, program)) writeSync(fd, line);
    } catch {
      // Nobody is left who could be told.
    }
  };
}
