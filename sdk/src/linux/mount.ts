// File systems at folders, mount(2), umount(2). Numbers from include/uapi/linux/mount.h and include/linux/fs.h.

import { check, declare } from './call.ts';

// ABI: int mount(const char *source, const char *target, const char *filesystemtype, unsigned long mountflags,
// const void *data); mount(2). Strings are copied during the call; data is one as well for all that is mounted here.
const mountCall = declare<
  [source: string | null, target: string, type: string | null, flags: number, data: string | null],
  number
>('int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)');
// ABI: int umount2(const char *target, int flags); umount(2).
const umount2Call = declare<[target: string, flags: number], number>('int umount2(const char *target, int flags)');
// ABI: void sync(void); sync(2). It returns when all is written.
const syncCall = declare<[], number>('int sync()');

/** Flags of mount(2). */
export const MOUNT = {
  readOnly: 1,
  noSuid: 2,
  noDev: 4,
  noExec: 8,
  remount: 0x20,
  bind: 0x1000,
  move: 0x2000,
  recursive: 0x4000,
  private: 0x4_0000,
  shared: 0x10_0000,
  relatime: 0x20_0000,
} as const;

export interface MountOptions {
  /** A device, a folder to be bound, or a word for what has none. */
  readonly source: string;
  readonly target: string;
  /** Not looked at when something is bound, moved or mounted again. */
  readonly type?: string;
  /** MOUNT, or-ed; default 0. */
  readonly flags?: number;
  /** Of the file system, with commas between them. */
  readonly data?: string;
}

/** @throws LinuxError EPERM, EBUSY, EINVAL, ENODEV (no such file system), ENOENT, … */
export function mountFilesystem({ source, target, type, flags = 0, data }: MountOptions): void {
  check('mount', mountCall(source, target, type ?? null, flags, data ?? null));
}

const MNT_DETACH = 2;

/** With `detach` it goes from the tree at once, and for good when nobody uses it any more. @throws LinuxError EBUSY, EINVAL, … */
export function unmount(target: string, options: { readonly detach?: boolean } = {}): void {
  check('umount2', umount2Call(target, options.detach === true ? MNT_DETACH : 0));
}

/** Writes all file systems to their devices, and waits for it. */
export function syncFilesystems(): void {
  syncCall();
}
