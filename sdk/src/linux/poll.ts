// Waiting for descriptors: once in the event loop, or at once with poll(2).

import { declareHot, errnoCell, LinuxError } from './call.ts';
import { type Mapping, mapAnonymous } from './mapping.ts';
import { watch } from './watch.ts';

/**
 * Calls `fn` once, when `fd` becomes readable. Works for whatever epoll(7) takes: pidfd, eventfd, timerfd, sockets, pipes.
 * It does not keep the process alive. The caller closes `fd`, after disposing of this. @throws SDK_ERR_WATCH
 */
export function onReadable(fd: number, fn: () => void): Disposable {
  const watching = watch(fd, { readable: true }, () => {
    watching[Symbol.dispose]();
    fn();
  });
  return watching.unref();
}

/** include/uapi/asm-generic/poll.h */
export const POLL = { in: 1, out: 4, err: 8, hup: 0x10, nval: 0x20, rdhup: 0x2000 } as const;

// ABI: int poll(struct pollfd *fds, nfds_t nfds, int timeout); poll(2). The array is in a mapping of ours; revents are
// written during the call.
let poll = declareHot<[fds: number, count: number, timeout: number]>(
  'int poll(intptr_t fds, unsigned long count, int timeout)',
  (linked) => {
    poll = linked;
  },
);

/** struct pollfd { int fd; short events; short revents; } */
const POLLFD_BYTES = 8;
const MAX_FDS = 1024;

let scratch: Mapping | undefined;
let words = new Int32Array();
function table(): number {
  if (scratch === undefined) {
    scratch = mapAnonymous(MAX_FDS * POLLFD_BYTES);
    words = new Int32Array(scratch.buffer);
  }
  return scratch.address;
}

/** Waits for one descriptor; `timeoutMs` −1 is for ever. False: not ready in time, or a signal came. Allocates nothing. */
export function pollOne(fd: number, interest: 'readable' | 'writable', timeoutMs: number): boolean {
  const address = table();
  words[0] = fd;
  words[1] = interest === 'readable' ? POLL.in : POLL.out;
  return poll(address, 1, timeoutMs) > 0;
}

/**
 * Index of the first descriptor that is readable, has hung up, or is none; −1 when there is none in time or a signal
 * came. At most 1024 of them; `timeoutMs` −1 is for ever. Allocates nothing.
 */
export function waitReadable(fds: Int32Array, timeoutMs: number): number {
  const address = table();
  const count = Math.min(fds.length, MAX_FDS);
  for (let i = 0; i < count; i++) {
    words[i * 2] = fds[i] as number;
    words[i * 2 + 1] = POLL.in;
  }
  if (poll(address, count, timeoutMs) <= 0) return -1;
  for (let i = 0; i < count; i++) if ((words[i * 2 + 1] as number) >>> 16 !== 0) return i;
  return -1;
}

/**
 * poll(2) on all: what is ready of each, as POLL bits. `events` are POLL bits too; at most 1024 of them.
 * @throws LinuxError EINTR when a signal came, …
 */
export function pollFds(fds: readonly { readonly fd: number; readonly events: number }[], timeoutMs: number): number[] {
  const address = table();
  const count = Math.min(fds.length, MAX_FDS);
  for (let i = 0; i < count; i++) {
    const { fd, events } = fds[i] as (typeof fds)[number];
    words[i * 2] = fd;
    words[i * 2 + 1] = events & 0xffff;
  }
  const errno = errnoCell();
  if (poll(address, count, timeoutMs) < 0) throw new LinuxError('poll', errno[0] as number);
  return Array.from({ length: count }, (_, i) => (words[i * 2 + 1] as number) >>> 16);
}
