// What is done to all descriptors of this process at once.

import { check, declare } from './call.ts';
import { syscallNumber } from './syscall-numbers.ts';

/** include/uapi/linux/close_range.h */
const CLOSE_RANGE_CLOEXEC = 4;
const LAST = 0xffff_ffff;

// ABI: close_range(unsigned int first, unsigned int last, int flags) through syscall(2); close_range(2). Linux 5.9, the
// flag since 5.11. No memory is passed.
const closeRange = declare<[number: number, first: number, last: number, flags: number], number | bigint>(
  'long syscall(long number, unsigned long first, unsigned long last, long flags)',
);

/** Sets close-on-exec on every descriptor above 2: whoever started this process may have left some open. @throws LinuxError */
export function sealDescriptors(): void {
  check('close_range', closeRange(syscallNumber('close_range'), 3, LAST, CLOSE_RANGE_CLOEXEC));
}
