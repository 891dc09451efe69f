// Numbers of system calls that libc has no function for, or only in new releases.
// From arch/x86/entry/syscalls/syscall_64.tbl and scripts/syscall.tbl of Linux; calls added since 5.0 have one number
// everywhere, but nothing promises that of the older ones.

import { errors } from '../errors.ts';

const NUMBERS = {
  x64: { pidfd_send_signal: 424, pidfd_open: 434, close_range: 436 },
  arm64: { pidfd_send_signal: 424, pidfd_open: 434, close_range: 436 },
  riscv64: { pidfd_send_signal: 424, pidfd_open: 434, close_range: 436 },
} as const;

export type SyscallName = keyof (typeof NUMBERS)['x64'];

/** @throws SDK_ERR_PLATFORM */
export function syscallNumber(name: SyscallName, arch: string = process.arch): number {
  const table = Object.entries(NUMBERS).find(([known]) => known === arch)?.[1];
  if (table === undefined) throw errors.SDK_ERR_PLATFORM({ details: { what: `system call ${name}`, platform: arch } });
  return table[name];
}
