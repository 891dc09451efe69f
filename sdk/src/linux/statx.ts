// What stat(2) does not tell of a file, statx(2). Layout from include/uapi/linux/stat.h.

import { check, declare } from './call.ts';
import { syscallNumber } from './syscall-numbers.ts';

const AT_EMPTY_PATH = 0x1000;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_FDCWD = -100;
const STATX_BASIC_STATS = 0x7ff;
const STATX_BTIME = 0x800;
const STATX_MNT_ID = 0x1000;
const STATX_DIOALIGN = 0x2000;
const STATX_BYTES = 256;
const ATTRIBUTES = {
  compressed: 4,
  immutable: 0x10,
  append: 0x20,
  encrypted: 0x800,
  'mount-root': 0x2000,
  verity: 0x10_0000,
} as const;

// ABI: int statx(int dirfd, const char *path, int flags, unsigned int mask, struct statx *buf) through syscall(2); statx(2).
// The buffer is ours and written during the call.
const statxCall = declare<
  [number: number, folder: number, path: string, flags: number, mask: number, buffer: Uint8Array],
  number | bigint
>('long syscall(long number, long folder, const char *path, long flags, long mask, void *buffer)');

export interface ExtendedStatus {
  /** In bytes. */
  readonly size: number;
  /** Of 512 bytes, as du(1) counts. */
  readonly blocks: number;
  /** Preferred for I/O, in bytes. */
  readonly blockSize: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly inode: bigint;
  readonly device: { readonly major: number; readonly minor: number };
  /** For a device file: what it stands for. */
  readonly special: { readonly major: number; readonly minor: number };
  /** When it was made, in ms since 1970; `undefined` where the file system does not know. */
  readonly bornMs: number | undefined;
  readonly modifiedMs: number;
  /** Of the mount it is on, as in /proc/self/mountinfo (Linux 5.8). */
  readonly mountId: bigint | undefined;
  /** Alignment that O_DIRECT demands of memory and offsets, in bytes; 0: not supported; `undefined`: not known (before Linux 6.1). */
  readonly directIo: { readonly memory: number; readonly offset: number } | undefined;
  readonly attributes: readonly (keyof typeof ATTRIBUTES)[];
}

/** Of an open file, or of a path whose last step is not followed when it is a symbolic link. @throws LinuxError ENOENT, EBADF, … */
export function statx(file: number | string): ExtendedStatus {
  const bytes = new Uint8Array(STATX_BYTES);
  const mask = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID | STATX_DIOALIGN;
  const [folder, path, flags] =
    typeof file === 'number' ? [file, '', AT_EMPTY_PATH] : [AT_FDCWD, file, AT_SYMLINK_NOFOLLOW];
  check('statx', statxCall(syscallNumber('statx'), folder, path, flags, mask, bytes));
  const view = new DataView(bytes.buffer);
  const known = view.getUint32(0, true);
  const u32 = (at: number): number => view.getUint32(at, true);
  const u64 = (at: number): bigint => view.getBigUint64(at, true);
  const time = (at: number): number => Number(view.getBigInt64(at, true)) * 1000 + u32(at + 8) / 1e6;
  return {
    blockSize: u32(4),
    links: u32(16),
    uid: u32(20),
    gid: u32(24),
    mode: view.getUint16(28, true),
    inode: u64(32),
    size: Number(u64(40)),
    blocks: Number(u64(48)),
    bornMs: (known & STATX_BTIME) === 0 ? undefined : time(80),
    modifiedMs: time(112),
    special: { major: u32(128), minor: u32(132) },
    device: { major: u32(136), minor: u32(140) },
    mountId: (known & STATX_MNT_ID) === 0 ? undefined : u64(144),
    directIo: (known & STATX_DIOALIGN) === 0 ? undefined : { memory: u32(152), offset: u32(156) },
    attributes: (Object.keys(ATTRIBUTES) as (keyof typeof ATTRIBUTES)[]).filter(
      (name) => (u64(8) & BigInt(ATTRIBUTES[name])) !== 0n,
    ),
  };
}
