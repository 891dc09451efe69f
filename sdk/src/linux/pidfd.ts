// Descriptors that name one process, and never another that got its number later. pidfd_open(2)

import { constants } from 'node:os';
import { check, declare, isLinuxError } from './call.ts';
import { syscallNumber } from './syscall-numbers.ts';

// ABI: long syscall(long number, ...); syscall(2). pidfd_open(pid_t pid, unsigned int flags): the caller owns the
// descriptor, which is close-on-exec. Linux 5.3. A variadic function takes its integers as others do on Linux.
const pidfdOpenCall = declare<[number: number, pid: number, flags: number], number | bigint>(
  'long syscall(long number, long pid, long flags)',
);

// ABI: pidfd_send_signal(int pidfd, int sig, siginfo_t *info, unsigned int flags), pidfd_send_signal(2). Linux 5.1.
// info is null: then it is as with kill(2). No memory is kept.
const pidfdSendSignalCall = declare<
  [number: number, pidfd: number, signal: number, info: null, flags: number],
  number | bigint
>('long syscall(long number, long pidfd, long signal, void *info, long flags)');

/**
 * The caller closes the descriptor. It becomes readable when the process ends.
 * @throws LinuxError ESRCH when there is no such process
 */
export function pidfdOpen(pid: number): number {
  return check('pidfd_open', pidfdOpenCall(syscallNumber('pidfd_open'), pid, 0));
}

/** False when the process is gone (also when it is a zombie that was waited for). @throws LinuxError EPERM, EBADF, … */
export function pidfdSendSignal(pidfd: number, signal: NodeJS.Signals): boolean {
  try {
    check(
      'pidfd_send_signal',
      pidfdSendSignalCall(syscallNumber('pidfd_send_signal'), pidfd, constants.signals[signal], null, 0),
    );
    return true;
  } catch (e) {
    if (isLinuxError(e, 'ESRCH')) return false;
    throw e;
  }
}

// ABI: pidfd_getfd(int pidfd, int targetfd, unsigned int flags) through syscall(2); pidfd_getfd(2). Linux 5.6. The copy is
// close-on-exec and the caller's.
const pidfdGetfdCall = declare<[number: number, pidfd: number, target: number, flags: number], number | bigint>(
  'long syscall(long number, long pidfd, long target, long flags)',
);

/** A copy of a descriptor of that process, which ptrace(2) must be allowed for. @throws LinuxError EPERM, EBADF, ESRCH, … */
export function pidfdGetfd(pidfd: number, target: number): number {
  return check('pidfd_getfd', pidfdGetfdCall(syscallNumber('pidfd_getfd'), pidfd, target, 0));
}
