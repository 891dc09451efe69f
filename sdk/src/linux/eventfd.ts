// Counters that wake others, eventfd(2): how virtqueues are kicked and interrupts raised.

import { check, declare } from './call.ts';
import { type Mapping, mapAnonymous } from './mapping.ts';
import { pollOne } from './poll.ts';
import { ERRNO, RWF, rawPreadv2, rawRead, rawWrite } from './raw-io.ts';

/** include/uapi/linux/eventfd.h; the values of O_CLOEXEC and O_NONBLOCK are those of x86-64, arm64 and riscv64. */
const EFD_SEMAPHORE = 1;
const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;

// ABI: int eventfd(unsigned int initval, int flags); eventfd(2).
const eventfdCall = declare<[initial: number, flags: number], number>('int eventfd(unsigned int initial, int flags)');

/**
 * Non-blocking, close-on-exec and the caller's. `initial`: 0 to 2^32 − 1.
 * A semaphore gives 1 for each read, others all that was added. @throws LinuxError EMFILE, …
 */
export function eventfd(initial = 0, options: { readonly semaphore?: boolean } = {}): number {
  const flags = EFD_NONBLOCK | EFD_CLOEXEC | (options.semaphore === true ? EFD_SEMAPHORE : 0);
  return check('eventfd', eventfdCall(initial, flags));
}

/** u64 1 to write; u64 to read into; struct iovec of that. */
let scratch: Mapping | undefined;
let one = 0;
let into = 0;
let iovec = 0;

function prepare(): void {
  scratch = mapAnonymous(32);
  one = scratch.address;
  into = one + 8;
  iovec = one + 16;
  const words = new Uint32Array(scratch.buffer);
  words[0] = 1;
  words[4] = into >>> 0;
  words[5] = Math.floor(into / 2 ** 32);
  words[6] = 8;
}

/**
 * Adds 1, waking who waits. A full counter (EAGAIN) has woken them already. Other failures are not told: the peer that
 * gave a descriptor which is no eventfd has only itself to wake. A blocking eventfd is one of which the counter never
 * fills, or its reader is gone; the kernel blocks then, so use those of peers that are trusted with this thread.
 */
export function signalEventfd(fd: number): void {
  if (scratch === undefined) prepare();
  rawWrite(fd, one, 8);
}

/** False once the kernel says that it cannot read an eventfd with RWF_NOWAIT (before Linux 5.8). */
let nowait = true;

/**
 * Reads the counter; false when it was 0. It neither blocks nor sets O_NONBLOCK, which all that share the eventfd would
 * notice: QEMU's main loop stands still when its kick eventfds block.
 */
export function drainEventfd(fd: number): boolean {
  if (scratch === undefined) prepare();
  if (nowait) {
    const result = rawPreadv2(fd, iovec, 1, -1, RWF.nowait);
    if (result === 8) return true;
    if (result !== -ERRNO.EOPNOTSUPP && result !== -ERRNO.ENOSYS) return false;
    nowait = false;
  }
  return pollOne(fd, 'readable', 0) && rawRead(fd, into, 8) === 8;
}
