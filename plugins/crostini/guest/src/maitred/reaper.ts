// Orphans become children of the first process, and stay zombies until it waits for them. libuv waits for its own children
// only; to wait for one of those here would take its end away from whoever started it.

import type { ChildProcess } from 'node:child_process';
import { channel } from 'node:diagnostics_channel';

export interface Children {
  /** A child that has ended, always the same one of several. */
  peek(): number | undefined;
  /** False: it has not ended after all. */
  reap(pid: number): boolean;
}

/** When the first of those that ended is libuv's, the others have to wait until it has seen it. */
const AGAIN_MS = 20;
/** Signals are lost when several come at once. */
const SWEEP_MS = 5000;
/** At once; then others have their turn. */
const BATCH = 1000;

export function startReaper(children: Children, onError: (e: unknown) => void): Disposable {
  const own = new Set<ChildProcess>();
  const created = channel('child_process');
  const onCreated = (message: unknown): void => void own.add((message as { process: ChildProcess }).process);
  created.subscribe(onCreated);
  let again: NodeJS.Timeout | undefined;
  const isOwn = (pid: number): boolean => {
    let found = false;
    for (const child of own) {
      const isOver = child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
      if (isOver) own.delete(child);
      else if (child.pid === pid) found = true;
    }
    return found;
  };
  const sweep = (): void => {
    clearTimeout(again);
    try {
      for (let i = 0; i < BATCH; i++) {
        const pid = children.peek();
        if (pid === undefined) return;
        if (isOwn(pid)) break;
        children.reap(pid);
      }
      again = setTimeout(sweep, AGAIN_MS);
    } catch (e) {
      onError(e);
    }
  };
  process.on('SIGCHLD', sweep);
  const timer = setInterval(sweep, SWEEP_MS);
  // Of those that ended before this began, no signal comes any more.
  sweep();
  return {
    [Symbol.dispose]() {
      created.unsubscribe(onCreated);
      process.off('SIGCHLD', sweep);
      clearTimeout(again);
      clearInterval(timer);
    },
  };
}
