// The event loop of a thread as a descriptor: readable when a descriptor that is watched has something to say.

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const FOLDER = '/proc/self/fd';
const EPOLL = 'anon_inode:[eventpoll]';

/**
 * The epoll descriptor of the loop that watches `watched`, for waiting on it as well; it stays libuv's. Each thread has
 * one. `undefined`: it cannot be told, such as before the loop has gone round once since the watch began. epoll(7)
 */
export function eventLoopOf(watched: number): number | undefined {
  try {
    // "tfd:" and the number of each descriptor in the set, proc_pid_fdinfo(5).
    const isMember = new RegExp(`^tfd:\\s+${watched}\\s`, 'm');
    return readdirSync(FOLDER)
      .map(Number)
      .find((fd) => isEpoll(fd) && isMember.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')));
  } catch {
    // No /proc, or one of them was closed meanwhile.
    return undefined;
  }
}

function isEpoll(fd: number): boolean {
  try {
    return readlinkSync(`${FOLDER}/${fd}`) === EPOLL;
  } catch {
    // The descriptor of the folder itself.
    return false;
  }
}
