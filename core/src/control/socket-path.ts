// Where the control socket lies, and whether that place is safe.

import { lstatSync, mkdirSync, type Stats } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { errors } from '../core-errors.ts';

/** sun_path without its terminating zero, unix(7). */
export const MAX_SOCKET_PATH = 107;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$/;

export type Environment = Readonly<Record<string, string | undefined>>;

function ownUid(): number {
  // Node leaves it out on systems without user ids, of which Linux is none.
  return process.getuid?.() ?? 0;
}

function unusable(path: string, why: string, hint: string, cause?: unknown): never {
  throw errors.CORE_ERR_CONTROL_PATH({ details: { path, why, hint }, cause });
}

/**
 * `$XDG_RUNTIME_DIR/runtime/<name>.sock`; without that variable under `/run/user/<uid>` when it is ours, else in
 * `$TMPDIR/runtime-<uid>` (`/tmp` by default). Makes nothing.
 * @throws CORE_ERR_CONTROL_PATH for a name that is no file name
 */
export function controlSocketPath(env: Environment, name: string = 'default'): string {
  if (!NAME.test(name)) {
    unusable(name, 'its name has characters other than letters, digits, ".", "_", "-"', 'Choose another name.');
  }
  return join(socketFolder(env), `${name}.sock`);
}

function socketFolder(env: Environment): string {
  const { XDG_RUNTIME_DIR: runtimeDir, TMPDIR: temporary } = env;
  // The specification has relative paths ignored.
  if (runtimeDir !== undefined && isAbsolute(runtimeDir)) return join(runtimeDir, 'runtime');
  const uid = ownUid();
  const byUid = `/run/user/${uid}`;
  const status = lstatSync(byUid, { throwIfNoEntry: false });
  if (status?.isDirectory() && status.uid === uid) return join(byUid, 'runtime');
  return join(temporary !== undefined && isAbsolute(temporary) ? temporary : '/tmp', `runtime-${uid}`);
}

/**
 * Refuses a folder in which somebody else could put a socket in place of ours: a symbolic link, another owner, or one
 * that others may enter. `false` when there is none.
 * @throws CORE_ERR_CONTROL_PATH
 */
export function checkSocketFolder(socketPath: string): boolean {
  const folder = dirname(socketPath);
  const status: Stats | undefined = lstatSync(folder, { throwIfNoEntry: false });
  if (status === undefined) return false;
  const uid = ownUid();
  if (!status.isDirectory()) unusable(socketPath, `${folder} is not a folder`, `Remove ${folder}.`);
  if (status.uid !== uid) {
    unusable(
      socketPath,
      `${folder} belongs to user ${status.uid}, not ${uid}`,
      'Set XDG_RUNTIME_DIR to a folder of your own.',
    );
  }
  if ((status.mode & 0o077) !== 0) {
    const mode = (status.mode & 0o777).toString(8);
    unusable(socketPath, `${folder} is open to others (mode ${mode})`, `chmod 700 ${folder}`);
  }
  return true;
}

/** Makes the folder with mode 0700 when it is missing. @throws CORE_ERR_CONTROL_PATH */
export function makeSocketFolder(socketPath: string): void {
  const folder = dirname(socketPath);
  try {
    // Not recursive: the folder around it has to be there and is not ours to make.
    mkdirSync(folder, { mode: 0o700 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
      unusable(socketPath, `${folder} cannot be made`, 'Check XDG_RUNTIME_DIR.', cause);
    }
  }
  checkSocketFolder(socketPath);
}

/** @throws CORE_ERR_CONTROL_PATH */
export function checkSocketPathLength(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH) {
    unusable(
      path,
      `it has ${bytes} bytes, more than ${MAX_SOCKET_PATH}`,
      'Set XDG_RUNTIME_DIR to a shorter path, or choose a shorter name.',
    );
  }
}
