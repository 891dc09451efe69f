// The half of a disk that runs in the runtime: opens an image and the files below it, so that a device process needs no
// path. Formats are named by whoever names the file, and never guessed: what a guest wrote to a raw image could begin as
// a qcow2 image does, and name any file of the host as its backing file.

import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isLinuxError, setNonBlocking } from '@runtime/sdk/linux';
import { errors } from '../errors.ts';
import { imageFile } from './image-file.ts';
import { lockImage } from './image-lock.ts';
import type { ChainEntry, DiskFormat } from './layers.ts';
import { type Qcow2Header, readHeader } from './qcow2/header.ts';

/** Files in a chain. */
export const MAX_CHAIN = 10;

export interface OpenChainOptions {
  readonly format: DiskFormat;
  readonly readonly: boolean;
  /** Whether other programs are kept from using the files in ways that would hurt; default true. */
  readonly lock?: boolean;
  /** Whether it may lie on other files; default true. Never let a stranger's image name files of this computer. */
  readonly backing?: boolean;
}

/** Disposing closes the descriptors. */
export interface OpenedChain extends Disposable {
  /** The image first; what it lies on is open for reading only. */
  readonly entries: readonly ChainEntry[];
  /** Of each entry that is qcow2. */
  readonly headers: readonly (Qcow2Header | undefined)[];
}

/** @throws VMM_ERR_DISK_OPEN, VMM_ERR_DISK_IN_USE, VMM_ERR_DISK_BACKING, VMM_ERR_DISK_FORMAT, VMM_ERR_DISK_FEATURE */
export function openChain(path: string, options: OpenChainOptions): OpenedChain {
  const entries: ChainEntry[] = [];
  const headers: (Qcow2Header | undefined)[] = [];
  const seen = new Set<string>();
  const close = (): void => {
    for (const { fd } of entries.splice(0)) closeSync(fd);
  };
  const refuse = (why: string, hint: string) => errors.VMM_ERR_DISK_BACKING({ details: { image: path, why, hint } });
  try {
    let next: { readonly path: string; readonly format: DiskFormat } | undefined = { path, format: options.format };
    while (next !== undefined) {
      if (entries.length === MAX_CHAIN)
        throw refuse(
          `there are more than ${MAX_CHAIN} files`,
          'Put some of them together: qemu-img rebase, or convert.',
        );
      const isTop = entries.length === 0;
      const fd = openFile(next.path, isTop && !options.readonly);
      entries.push({ fd, format: next.format, name: next.path });
      const { dev, ino } = fstatSync(fd, { bigint: true });
      if (seen.has(`${dev}:${ino}`))
        throw refuse(
          `${next.path} is below itself`,
          'One of the backing files has the wrong name: qemu-img rebase -u.',
        );
      seen.add(`${dev}:${ino}`);
      if (options.lock !== false) lock(fd, next.path, isTop && !options.readonly);
      const header: Qcow2Header | undefined =
        next.format === 'qcow2' ? readHeader(imageFile(fd, next.path)) : undefined;
      headers.push(header);
      if (header?.backing !== undefined && options.backing === false)
        throw refuse('it may not have any', 'Put it and what it lies on together: qemu-img convert.');
      next = header?.backing === undefined ? undefined : backingOf(next.path, header.backing, refuse);
    }
  } catch (e) {
    close();
    throw e;
  }
  return { entries: [...entries], headers, [Symbol.dispose]: close };
}

function backingOf(
  image: string,
  backing: { readonly file: string; readonly format: string | undefined },
  refuse: (why: string, hint: string) => Error,
): { readonly path: string; readonly format: DiskFormat } {
  const { format } = backing;
  if (format === undefined)
    throw refuse(
      `${image} does not say which format ${backing.file} has`,
      'Say it, once you know that it is right: qemu-img rebase -u -b BACKING -F FORMAT IMAGE',
    );
  if (format !== 'raw' && format !== 'qcow2')
    throw refuse(`${backing.file} has the format ${JSON.stringify(format)}`, 'raw and qcow2 are supported.');
  const file = backing.file.startsWith('file:') ? backing.file.slice('file:'.length) : backing.file;
  // `json:{…}`, `nbd://…`: names that QEMU gives a meaning of its own.
  if (/^[^/]*:/.test(file))
    throw refuse(`${JSON.stringify(file)} is not the path of a file`, 'Give it one: qemu-img rebase -u -b PATH.');
  return { path: resolve(dirname(image), file), format };
}

function openFile(path: string, writable: boolean): number {
  const unusable = (why: string, hint: string, cause?: unknown) =>
    errors.VMM_ERR_DISK_OPEN({ details: { image: path, verb: 'opened', why, hint }, cause });
  let fd: number;
  try {
    // Without O_NONBLOCK opening a FIFO would wait for its other end.
    fd = openSync(path, (writable ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (e) {
    const { code = '', message } = e as NodeJS.ErrnoException;
    const [why, hint] = WHY[code] ?? [message, 'See what the system says about it.'];
    throw unusable(why, hint, e);
  }
  const stats = fstatSync(fd);
  if (stats.isFile() || stats.isBlockDevice()) {
    // io_uring would not wait for blocks of a file that is open so.
    setNonBlocking(fd, false);
    return fd;
  }
  closeSync(fd);
  throw unusable('it is neither a file nor a block device', 'Name the file of an image.');
}

const WHY: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  ENOENT: ['there is no such file', 'Check the path, or make the image: runtime vm disk create.'],
  EACCES: ['this user may not open it', 'Change its owner or mode, or use it read-only.'],
  EPERM: ['this user may not open it', 'Change its owner or mode, or use it read-only.'],
  EROFS: ['its file system is read-only', 'Use it read-only.'],
  ETXTBSY: ['it is in use', 'Stop the program that uses it.'],
};

/** QEMU and its tools look for the same locks. They last until every descriptor of this opening is closed. */
export function lock(fd: number, path: string, writable: boolean): void {
  try {
    if (lockImage(fd, writable)) return;
  } catch (e) {
    // Some network file systems have no locks; a VM on one is worth more than its protection against oneself.
    if (['ENOLCK', 'EOPNOTSUPP', 'EINVAL'].some((name) => isLinuxError(e, name))) return;
    throw e;
  }
  throw errors.VMM_ERR_DISK_IN_USE({ details: { image: path } });
}
