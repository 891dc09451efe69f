// Standard input for a command of a plugin.

import { readFileSync } from 'node:fs';

/** Ends at once where reading would stop the process: in the background of a terminal. */
export async function* standardInput(): AsyncGenerator<Uint8Array, void> {
  const { stdin } = process;
  if (stdin.isTTY === true && inBackground()) return;
  try {
    for await (const chunk of stdin) yield chunk as Uint8Array;
  } finally {
    stdin.destroy();
  }
}

/** The process group is not the one that the terminal listens to: fields pgrp and tpgid of proc_pid_stat(5). */
function inBackground(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[2] !== fields[5];
  } catch {
    return false;
  }
}
