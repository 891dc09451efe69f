// Standard input for a command of a plugin.

import { readFileSync } from 'node:fs';

/** Ends at once where reading would stop the process: in the background of a terminal. */
export function standardInput(): AsyncIterableIterator<Uint8Array> {
  const { stdin } = process;
  const ended = { done: true, value: undefined } as const;
  const chunks: AsyncIterator<Uint8Array> | undefined =
    stdin.isTTY === true && inBackground() ? undefined : stdin[Symbol.asyncIterator]();
  return {
    next: async () => chunks?.next() ?? ended,
    // Not that of a generator, which would wait for the next chunk: an open pipe would keep the process alive.
    return: async () => {
      stdin.destroy();
      return ended;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
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
