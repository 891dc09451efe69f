// Settings of terminals, ioctl_tty(2).

import { ioctlBuffer } from './ioctl.ts';

/** include/uapi/asm-generic/ioctls.h and termbits.h, which x86-64, arm64 and riscv64 have as they are. */
const TCGETS = 0x5401;
const TCSETS = 0x5402;
const OPOST = 1;
/** struct termios: four words of flags, those of output second, and 20 bytes more. */
const TERMIOS_WORDS = 9;
const OUTPUT_FLAGS = 1;

/**
 * What is written to the terminal reaches it unchanged: no carriage return before a line feed, which the raw mode of Node
 * leaves on. Node's way back from raw mode undoes this, too. @throws LinuxError ENOTTY when it is none
 */
export function passOutputThrough(fd: number): void {
  const settings = new Uint32Array(TERMIOS_WORDS);
  ioctlBuffer(fd, TCGETS, settings);
  settings[OUTPUT_FLAGS] = (settings[OUTPUT_FLAGS] as number) & ~OPOST;
  ioctlBuffer(fd, TCSETS, settings);
}
