// Filters of system calls, seccomp(2).

import { errors } from '../errors.ts';
import { check, declare } from './call.ts';
import { mapAnonymous } from './mapping.ts';
import { syscallNumber } from './syscall-numbers.ts';

/** include/uapi/linux/seccomp.h */
const SECCOMP_SET_MODE_FILTER = 1;
const SECCOMP_FILTER_FLAG_TSYNC = 1;
/** struct sock_fprog { unsigned short len; struct sock_filter *filter; } */
const PROGRAM_BYTES = 16;
const INSTRUCTION_BYTES = 8;
/** BPF_MAXINSNS. */
const MAX_INSTRUCTIONS = 4096;

// ABI: int seccomp(unsigned int operation, unsigned int flags, void *args) through syscall(2); seccomp(2). Linux 3.17. The
// program is copied. With TSYNC the number of a thread that cannot follow may come back.
const seccomp = declare<[number: number, operation: number, flags: number, program: number], number | bigint>(
  'long syscall(long number, long operation, long flags, intptr_t program)',
);

/**
 * Every thread of this process, and all that it starts, makes only those system calls from now on that the filter lets
 * through. For good. setNoNewPrivileges() must come first, unless this process is privileged.
 * @param program an array of struct sock_filter, 1 to 4096 of 8 bytes
 * @throws SDK_ERR_ARGUMENT, also when another thread has a filter of its own; LinuxError EACCES without no_new_privs, EINVAL for a program that the kernel refuses
 */
export function installSystemCallFilter(program: Uint8Array): void {
  const refuse = (why: string) =>
    errors.SDK_ERR_ARGUMENT({ details: { what: 'the filter', value: `${program.length} bytes`, why } });
  const count = program.length / INSTRUCTION_BYTES;
  if (!Number.isInteger(count) || count < 1 || count > MAX_INSTRUCTIONS) {
    throw refuse(`it must be 1 to ${MAX_INSTRUCTIONS} instructions of ${INSTRUCTION_BYTES} bytes`);
  }
  const memory = mapAnonymous(PROGRAM_BYTES + program.length);
  const address = memory.address + PROGRAM_BYTES;
  new Uint32Array(memory.buffer).set([count, 0, address >>> 0, Math.floor(address / 2 ** 32)]);
  new Uint8Array(memory.buffer).set(program, PROGRAM_BYTES);
  let thread: number;
  try {
    const number = syscallNumber('seccomp');
    thread = check('seccomp', seccomp(number, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, memory.address));
  } catch (e) {
    memory[Symbol.dispose]();
    throw e;
  }
  // What follows is under the filter, which may not let memory be unmapped: the page stays.
  if (thread > 0) throw refuse(`thread ${thread} has a filter of its own`);
}
