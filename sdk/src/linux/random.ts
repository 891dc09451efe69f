// Random bytes from the kernel, getrandom(2): a device process need not load OpenSSL for them.

import { check, declare } from './call.ts';

/** A call of at most so many bytes is whole and is not interrupted. */
const WHOLE = 256;

// ABI: ssize_t getrandom(void *buf, size_t size, unsigned int flags); getrandom(2). Without flags it waits until the
// kernel has been seeded, once after the computer was started.
const getrandom = declare<[buffer: Uint8Array, size: number, flags: number], number>(
  'int64_t getrandom(void *buffer, size_t size, unsigned int flags)',
);

/** Fills all of it. @throws LinuxError ENOSYS */
export function fillRandom(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += WHOLE) {
    const part = bytes.subarray(at, at + WHOLE);
    check('getrandom', getrandom(part, part.length, 0));
  }
}
