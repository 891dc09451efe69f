// Signals as something to read, signalfd(2), and which of them reach this thread, pthread_sigmask(3).

import { constants } from 'node:os';
import { check, declare, LinuxError } from './call.ts';
import { type Mapping, mapAnonymous } from './mapping.ts';
import { ERRNO, rawRead } from './raw-io.ts';

const SFD_NONBLOCK = 0o4000;
const SFD_CLOEXEC = 0o2000000;
/** sigset_t of libc: 1024 bits. */
const SIGSET_WORDS = 16;
const SIGINFO_BYTES = 128;
const SIG_BLOCK = 0;
const SIG_UNBLOCK = 1;

// ABI: int signalfd(int fd, const sigset_t *mask, int flags); signalfd(2). The set is copied; the descriptor is the caller's.
const signalfdCall = declare<[fd: number, mask: BigUint64Array, flags: number], number>(
  'int signalfd(int fd, void *mask, int flags)',
);
// ABI: int pthread_sigmask(int how, const sigset_t *set, sigset_t *oldset); pthread_sigmask(3): the error is the result.
const pthreadSigmask = declare<[how: number, set: BigUint64Array, old: null], number>(
  'int pthread_sigmask(int how, void *set, void *old)',
);

function sigset(signals: readonly NodeJS.Signals[]): BigUint64Array {
  const set = new BigUint64Array(SIGSET_WORDS);
  for (const signal of signals) {
    const bit = constants.signals[signal] - 1;
    set[bit >> 6] = (set[bit >> 6] as bigint) | (1n << BigInt(bit & 63));
  }
  return set;
}

/**
 * Keeps signals from this thread, or lets them in again. Threads that are started later inherit it; those that run
 * already (of V8 and libuv) do not, and one of them takes a signal that is sent to the process. For signals to the
 * process have its parent block them before it starts this one. @throws LinuxError
 */
export function blockSignals(signals: readonly NodeJS.Signals[], blocked = true): void {
  const error = pthreadSigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, sigset(signals), null);
  if (error !== 0) throw new LinuxError('pthread_sigmask', error);
}

/** Readable when one of the signals waits, which must be blocked. Non-blocking, close-on-exec, the caller's. @throws LinuxError */
export function signalfd(signals: readonly NodeJS.Signals[]): number {
  return check('signalfd', signalfdCall(-1, sigset(signals), SFD_NONBLOCK | SFD_CLOEXEC));
}

export interface SignalInfo {
  readonly signal: number;
  /** Of the sender; 0 when it was the kernel. */
  readonly pid: number;
  readonly uid: number;
}

let scratch: Mapping | undefined;

/** The next signal, or `undefined`. struct signalfd_siginfo: signo u32@0, code i32@8, pid u32@12, uid u32@16. @throws LinuxError */
export function readSignal(fd: number): SignalInfo | undefined {
  scratch ??= mapAnonymous(SIGINFO_BYTES);
  const result = rawRead(fd, scratch.address, SIGINFO_BYTES);
  if (result === -ERRNO.EAGAIN) return undefined;
  if (result < 0) throw new LinuxError('read', -result);
  const words = new Uint32Array(scratch.buffer);
  return { signal: words[0] as number, pid: words[3] as number, uid: words[4] as number };
}
