// Opening paths that somebody else chose, openat2(2).

import { errors } from '../errors.ts';
import { check, declare, isLinuxError } from './call.ts';
import { syscallNumber } from './syscall-numbers.ts';

const O_CLOEXEC = 0o2000000;
/** include/uapi/linux/openat2.h */
const RESOLVE = {
  'no-xdev': 1,
  'no-magiclinks': 2,
  'no-symlinks': 4,
  beneath: 8,
  'in-root': 0x10,
  cached: 0x20,
} as const;

export type Resolve = keyof typeof RESOLVE;

// ABI: int openat2(int dirfd, const char *path, const struct open_how *how, size_t size) through syscall(2); openat2(2).
// Linux 5.6. struct open_how { u64 flags; u64 mode; u64 resolve; } and the path are copied; the descriptor is the caller's.
const openat2 = declare<
  [number: number, folder: number, path: string, how: BigUint64Array, size: number],
  number | bigint
>('long syscall(long number, long folder, const char *path, void *how, long size)');

export interface OpenBeneathOptions {
  /** O_ flags of node:fs constants; default O_RDONLY. O_CLOEXEC is always added. */
  readonly flags?: number;
  /** Permissions of a file that is made, less the umask; only with O_CREAT or O_TMPFILE. */
  readonly mode?: number;
  /** Default: nothing outside the folder, no way through /proc. */
  readonly resolve?: readonly Resolve[];
}

/**
 * Opens `path` as seen from the folder, with the rules of `resolve` for each step of it, in one go: nobody can exchange
 * a folder for a symbolic link meanwhile. Close-on-exec and the caller's.
 * @throws SDK_ERR_ARGUMENT for a path with NUL; LinuxError ENOENT, EXDEV (it leads out), ELOOP (a link that is not followed), …
 */
export function openBeneath(folder: number, path: string, options: OpenBeneathOptions = {}): number {
  const { flags = 0, mode = 0, resolve = ['beneath', 'no-magiclinks'] } = options;
  if (path.includes('\0'))
    throw errors.SDK_ERR_ARGUMENT({ details: { what: 'a path', value: JSON.stringify(path), why: 'it holds NUL' } });
  const rules = resolve.reduce((all, rule) => all | RESOLVE[rule], 0);
  const how = BigUint64Array.of(BigInt(flags | O_CLOEXEC), BigInt(mode), BigInt(rules));
  // EAGAIN: something was renamed meanwhile, and the kernel could not tell whether the path stays inside.
  for (let attempt = 1; ; attempt++)
    try {
      return check('openat2', openat2(syscallNumber('openat2'), folder, path, how, how.byteLength));
    } catch (e) {
      if (attempt === 16 || !(isLinuxError(e, 'EAGAIN') || isLinuxError(e, 'EINTR'))) throw e;
    }
}
