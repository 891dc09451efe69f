// Files that a caller names by path or descriptor.

import { closeSync, constants, existsSync, fstatSync, ftruncateSync, lstatSync, openSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { duplicate, setNonBlocking } from '@runtime/sdk/linux';
import type { DiskFile } from '../contract-disks.ts';
import { errors } from '../errors.ts';
import { fileError } from './files.ts';

const refuse = (file: string, why: string, hint: string): Error =>
  errors.CROSTINI_ERR_DISK_FILE({ details: { file, why, hint } });

const nameOf = (file: DiskFile): string => (typeof file === 'string' ? file : `descriptor ${file.fd}`);

/** A descriptor of ours for what the caller gave. A pipe must not block a thread in the kernel. */
function ownDescriptor(file: { readonly fd: number }): number {
  if (!Number.isInteger(file.fd) || file.fd < 0) throw refuse(nameOf(file), 'it is no descriptor', 'Give an open one.');
  let fd: number;
  try {
    fd = duplicate(file.fd);
  } catch (e) {
    throw fileError(nameOf(file), e);
  }
  const stats = fstatSync(fd);
  if (stats.isFile()) return fd;
  if (stats.isFIFO() || stats.isSocket()) {
    setNonBlocking(fd, true);
    return fd;
  }
  closeSync(fd);
  throw refuse(nameOf(file), 'it is neither a file nor a pipe', 'Give one of these.');
}

/** To be read. The caller of this closes `fd`; `size` is undefined for a pipe. @throws CROSTINI_ERR_DISK_FILE */
export function openSource(file: DiskFile): { readonly fd: number; readonly size: number | undefined } {
  if (typeof file !== 'string') {
    const fd = ownDescriptor(file);
    const stats = fstatSync(fd);
    return { fd, size: stats.isFile() ? stats.size : undefined };
  }
  checkPath(file);
  let fd: number;
  try {
    // Without O_NONBLOCK opening a FIFO would wait for its other end.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (e) {
    throw fileError(file, e);
  }
  const stats = fstatSync(fd);
  if (stats.isFile()) return { fd, size: stats.size };
  closeSync(fd);
  throw refuse(file, 'it is no file', 'Name a file.');
}

export interface Target {
  readonly file: DiskFile;
  readonly fd: number;
  /** Where it is written until it is finished; `undefined` for a descriptor. */
  readonly temporary: string | undefined;
  /** Takes back what was written to a descriptor of a file. */
  undo(): void;
}

/** @param temporary of a path: lies beside it, and does not exist yet @throws CROSTINI_ERR_DISK_FILE */
export function openTarget(file: DiskFile, temporary: string | undefined): Target {
  if (typeof file !== 'string') {
    const fd = ownDescriptor(file);
    const stats = fstatSync(fd);
    return { file, fd, temporary: undefined, undo: () => stats.isFile() && ftruncateSync(fd, stats.size) };
  }
  try {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    return { file, fd: openSync(temporary as string, flags, 0o600), temporary, undo() {} };
  } catch (e) {
    throw fileError(file, e);
  }
}

/** @throws CROSTINI_ERR_DISK_FILE */
export function checkPath(path: string): void {
  if (!isAbsolute(path) || path.includes('\0')) throw refuse(path, 'it is no absolute path', 'Give one.');
}

/** Early, so that nobody waits for an export that cannot be put in its place. @throws CROSTINI_ERR_DISK_FILE */
export function checkTarget(file: DiskFile, overwrite: boolean): void {
  if (typeof file !== 'string') return;
  checkPath(file);
  if (!existsSync(file)) return;
  if (!lstatSync(file).isFile()) throw refuse(file, 'it is no file', 'Use another name.');
  if (!overwrite) throw fileError(file, { code: 'EEXIST', message: '' });
}
