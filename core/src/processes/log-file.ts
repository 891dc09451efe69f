// The output of a detached child: a file, since nobody may be there to read a pipe.

import { closeSync, fstatSync, mkdirSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { LineSplitter, MAX_KEPT } from './output.ts';

/**
 * Bytes above which the file is put aside (to `.1`, replacing the one before) when its child starts. Nobody stands
 * between the child and its file, so one that runs for long can exceed it.
 */
export const MAX_LOG_FILE = 4 * 1024 * 1024;
/** Bytes from the end that are looked at for its last lines. */
const TAIL = 64 * 1024;

/** Bytes of a file name, NAME_MAX in limits.h, less what `.log.1` takes. */
const MAX_STEM = 240;

/** `<plugin>-<key>.log`, with whatever could not be part of a file name as `%XX`; the end of a long one is a hash. */
export function logFileName(plugin: string, key: string): string {
  const stem = `${encodeURIComponent(plugin)}-${encodeURIComponent(key)}`;
  if (stem.length <= MAX_STEM) return `${stem}.log`;
  const hash = process.getBuiltinModule('node:crypto').createHash('sha256').update(stem).digest('hex').slice(0, 32);
  return `${stem.slice(0, MAX_STEM - 33)}-${hash}.log`;
}

export interface LogFile {
  readonly path: string;
  /** Open for appending. */
  readonly fd: number;
  /** Where the output of the child that starts now begins. */
  readonly from: number;
}

export function openLogFile(path: string): LogFile {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  const full = size > MAX_LOG_FILE;
  if (full) renameSync(path, `${path}.1`);
  return { path, fd: openSync(path, 'a', 0o600), from: full ? 0 : size };
}

/** Its last lines, oldest first; none when there is no file. */
export function lastLines(path: string): readonly string[] {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return [];
  }
  try {
    const { size } = fstatSync(fd);
    const from = Math.max(0, size - TAIL);
    const buffer = Buffer.alloc(size - from);
    const lines: string[] = [];
    const splitter = new LineSplitter((line) => lines.push(line));
    splitter.push(buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, from)));
    splitter.end();
    // The first one may be the rest of a line.
    return lines.slice(from > 0 ? 1 : 0).slice(-MAX_KEPT);
  } finally {
    closeSync(fd);
  }
}
