// Numbers of system calls that libc has no function for, or only in new releases.
// From arch/x86/entry/syscalls/syscall_64.tbl and scripts/syscall.tbl of Linux; calls added since 5.0 have one number
// everywhere, but nothing promises that of the older ones.

import { errors } from '../errors.ts';

const SINCE_5 = {
  pidfd_send_signal: 424,
  io_uring_setup: 425,
  io_uring_enter: 426,
  io_uring_register: 427,
  pidfd_open: 434,
  close_range: 436,
  openat2: 437,
  pidfd_getfd: 438,
  landlock_create_ruleset: 444,
  landlock_add_rule: 445,
  landlock_restrict_self: 446,
} as const;

const NUMBERS = {
  x64: { ...SINCE_5, statx: 332, seccomp: 317 },
  arm64: { ...SINCE_5, statx: 291, seccomp: 277 },
  riscv64: { ...SINCE_5, statx: 291, seccomp: 277 },
} as const;

export type SyscallName = keyof (typeof NUMBERS)['x64'];

/** @throws SDK_ERR_PLATFORM */
export function syscallNumber(name: SyscallName, arch: string = process.arch): number {
  const table = Object.entries(NUMBERS).find(([known]) => known === arch)?.[1];
  if (table === undefined) throw errors.SDK_ERR_PLATFORM({ details: { what: `system call ${name}`, platform: arch } });
  return table[name];
}
