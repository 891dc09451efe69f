// Any system call by its number, syscall(2): for programs that ask what they may do. Everything else has functions.

import { check, declare, LinuxError } from './call.ts';

// ABI: long syscall(long number, ...); syscall(2). Six arguments are always given, as the kernel takes them in registers.
const call = declare<[number, number, number, number, number, number, number], number | bigint>(
  'long syscall(long number, long a, long b, long c, long d, long e, long f)',
);

/**
 * Arguments are numbers and addresses (see mapAnonymous()); what they point to must be right, or the process crashes.
 * @returns what the call did; an error as a negative number, −EPERM and the like
 */
export function systemCall(number: number, ...args: readonly number[]): number {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args;
  try {
    return check('syscall', call(number, a, b, c, d, e, f));
  } catch (error) {
    if (error instanceof LinuxError) return -error.errno;
    throw error;
  }
}
