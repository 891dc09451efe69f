// What is done to files so that a crash at any moment leaves the old state or the new one.

import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { errors } from '../errors.ts';

/** Makes renames and removals in a folder last. */
export function syncFolder(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Puts a finished file in its place. Without `overwrite` what is there already stays. @throws CROSTINI_ERR_DISK_FILE */
export function moveInto(from: string, to: string, options: { readonly overwrite: boolean }): void {
  try {
    if (options.overwrite || !linkedInto(from, to)) renameSync(from, to);
  } catch (e) {
    throw fileError(to, e);
  }
  syncFolder(dirname(to));
}

/** rename(2) would replace what somebody made meanwhile. False: the file system has no hard links, and nothing is there. */
function linkedInto(from: string, to: string): boolean {
  try {
    linkSync(from, to);
  } catch (e) {
    const { code = '' } = e as NodeJS.ErrnoException;
    if (NO_LINKS.has(code) && !existsSync(to)) return false;
    throw e;
  }
  unlinkSync(from);
  return true;
}

const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

/** Replaces a small file. `temporary` lies on the same file system. */
export function replaceFile(path: string, temporary: string, text: string): void {
  const fd = openSync(
    temporary,
    constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW,
    0o600,
  );
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

const WHY: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  EEXIST: ['there is such a file already', 'Use another name, or replace it: --overwrite.'],
  ENOENT: ['there is no such file or folder', 'Check its path.'],
  EACCES: ['this user may not use it', 'Check its owner and mode.'],
  EPERM: ['this user may not use it', 'Check its owner and mode.'],
  ENOSPC: ['no space is left', 'Make some on its file system.'],
  EDQUOT: ['no space is left to this user', 'Make some on its file system.'],
  EPIPE: ['nobody reads it any more', 'See why the reader ended.'],
};

/** What a call on a file failed with, in words. */
export function fileError(file: string, e: unknown): Error {
  const { code = '', message } = e as NodeJS.ErrnoException;
  const [why, hint] = WHY[code] ?? [message, 'See what the system says about it.'];
  return errors.CROSTINI_ERR_DISK_FILE({ details: { file, why, hint }, cause: e });
}

export function isMissing(e: unknown): boolean {
  return (e as NodeJS.ErrnoException).code === 'ENOENT';
}
