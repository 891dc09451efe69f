// Children get the descriptors they are given and no others. Node opens everything close-on-exec; what the runtime's own
// parent left open without that would be passed on.

import { readdirSync, readFileSync } from 'node:fs';
import type { NativeHost } from '../host.ts';
import type { Logger } from '../logging.ts';

/** O_CLOEXEC, include/uapi/asm-generic/fcntl.h, as /proc/<pid>/fdinfo shows it. */
const CLOSE_ON_EXEC = 0o2000000;

/** Descriptors above 2 that a child would inherit. */
export function inheritable(): readonly number[] {
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((fd) => fd > 2 && !isCloseOnExec(fd));
}

function isCloseOnExec(fd: number): boolean {
  try {
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
    const flags = /^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '';
    return (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) !== 0;
  } catch {
    // Closed since the folder was read, such as the descriptor of the folder itself.
    return true;
  }
}

export class DescriptorSeal {
  readonly #log: Logger;
  readonly #native: NativeHost | undefined;
  #done = false;

  constructor(log: Logger, native: NativeHost | undefined) {
    this.#log = log;
    this.#native = native;
  }

  /** Before the first child. */
  seal(): void {
    if (this.#done) return;
    this.#done = true;
    // Looked at first, since the native host takes milliseconds to load and there is rarely anything to do.
    const left = inheritable();
    if (left.length === 0) return;
    if (this.#native?.sealDescriptors === undefined) {
      this.#log.warn(
        { descriptors: left },
        'descriptors that the runtime was started with are open in its children too',
      );
    } else {
      this.#native.sealDescriptors();
    }
  }
}
