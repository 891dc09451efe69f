// Where what was downloaded and made is kept: outside the repository, by content hash, so that it can be shared by
// several checkouts, processes and versions. Whatever lies there under its final name is complete: it is made under a
// temporary name and renamed, and of two processes which make the same thing at once one throws its own away.

import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';

/** What is being waited for; a caller shows it. `done` and `total` are bytes and may be lacking. */
export interface Progress {
  readonly what: string;
  readonly done?: number;
  readonly total?: number;
}
export type OnProgress = (progress: Progress) => void;

const TEMPORARY = '.tmp-';
/** What a process that was killed left behind is removed after this long, in ms. */
const STALE_MS = 24 * 3_600_000;
/** A smaller number in a name is no time in ms. */
const FIRST_MS = 1e12;

/** The folder of images, https://specifications.freedesktop.org/basedir-spec/latest/. `RUNTIME_CACHE` moves it. */
export function imageCache(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const own = env.RUNTIME_CACHE;
  if (own !== undefined && isAbsolute(own)) return join(own, 'image');
  const xdg = env.XDG_CACHE_HOME;
  const base = xdg !== undefined && isAbsolute(xdg) ? xdg : join(env.HOME || homedir(), '.cache');
  return join(base, 'runtime', 'image');
}

/** A hash of plain data, the same for the same data: 32 hexadecimal digits. Order of keys counts. */
export function hashOf(...parts: readonly unknown[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part instanceof Uint8Array ? part : `${JSON.stringify(part)}\n`);
  return hash.digest('hex').slice(0, 32);
}

/** A temporary name beside `path`, in the same file system. */
export function temporaryBeside(path: string): string {
  mkdirSync(dirname(path), { recursive: true });
  return join(dirname(path), `${TEMPORARY}${Date.now()}-${process.pid}-${randomBytes(6).toString('hex')}`);
}

/**
 * `path`, made by `make` when it is not there: a file or a folder, which `make` puts at the path it is given. Safe when
 * several processes do it at once.
 */
export async function ensureMade(path: string, make: (at: string) => Promise<void>): Promise<string> {
  if (existsSync(path)) return path;
  const at = temporaryBeside(path);
  removeStale(dirname(path));
  try {
    await make(at);
    publish(at, path);
  } catch (e) {
    // Whoever was quicker may have removed what both made it of.
    if (!existsSync(path)) throw e;
  } finally {
    rmSync(at, { recursive: true, force: true });
  }
  return path;
}

function publish(at: string, path: string): void {
  try {
    renameSync(at, path);
  } catch (e) {
    // Somebody else made the folder meanwhile. A file is replaced by rename(2), by one of the same content.
    const { code } = e as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw e;
  }
}

/** Replaces a small file at once, so that no reader sees half of it. */
export function writeWhole(path: string, content: string): void {
  const at = temporaryBeside(path);
  try {
    writeFileSync(at, content);
    renameSync(at, path);
  } finally {
    rmSync(at, { force: true });
  }
}

/** How old it is says the name, as the times of what is unpacked are those of its archive. */
function removeStale(folder: string): void {
  const before = Date.now() - STALE_MS;
  for (const name of readdirSync(folder)) {
    const madeAt = Number(/^\.tmp-(\d+)-/.exec(name)?.[1] ?? Number.NaN);
    if (madeAt < before && madeAt > FIRST_MS) rmSync(join(folder, name), { recursive: true, force: true });
  }
}
