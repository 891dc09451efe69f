// Properties of this process, prctl(2). Numbers from include/uapi/linux/prctl.h.

import { constants } from 'node:os';
import { check, declare } from './call.ts';

const PR_SET_PDEATHSIG = 1;
const PR_SET_CHILD_SUBREAPER = 36;
const PR_SET_NO_NEW_PRIVS = 38;

// ABI: int prctl(int op, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5); prctl(2).
// All five are always given, since some operations insist on zeros. No memory is passed.
const prctl = declare<[operation: number, arg2: number, arg3: number, arg4: number, arg5: number], number>(
  'int prctl(int operation, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5)',
);

/**
 * The signal that this process gets when the thread that started it ends. Lost when it executes a set-user-ID program or
 * changes its user. It does not tell whether the parent was gone before: compare process.ppid afterwards.
 * @throws LinuxError
 */
export function setParentDeathSignal(signal: NodeJS.Signals | undefined): void {
  check('prctl', prctl(PR_SET_PDEATHSIG, signal === undefined ? 0 : constants.signals[signal], 0, 0, 0));
}

/** Descendants that lose their parent become children of this process instead of those of init. @throws LinuxError */
export function setChildSubreaper(on: boolean): void {
  check('prctl', prctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0, 0, 0, 0));
}

/** execve(2) gives no privileges any more, neither to this process nor to its children. For good. @throws LinuxError */
export function setNoNewPrivileges(): void {
  check('prctl', prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}
