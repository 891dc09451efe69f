// Where the sockets lie that guests call.

import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { controlSocketPath } from '@runtime/sdk/client';
import { errors } from '../errors.ts';

/** sun_path without its terminating zero, less the longest name of a socket in it. */
const MAX_FOLDER = 107 - 1 - '.7777'.length - 26;

/**
 * Beside the control socket of the runtime, since a state directory may lie too deep for a socket. Runtimes of other
 * names have others, by their state directory; one without by its pid, since nothing of it lives on.
 */
export function socketFolder(stateDirectory: string): string {
  const key =
    stateDirectory === '' ? String(process.pid) : createHash('sha256').update(stateDirectory).digest('hex').slice(0, 8);
  return join(dirname(controlSocketPath(process.env)), `termina-${key}`);
}

/** Only the user may enter it. @throws CROSTINI_ERR_SOCKET_FOLDER */
export function makeSocketFolder(folder: string): void {
  if (Buffer.byteLength(folder) > MAX_FOLDER) throw refuse(folder, `its path has more than ${MAX_FOLDER} bytes`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const place of [dirname(folder), folder]) {
    const { uid, mode } = lstatSync(place);
    if (uid !== process.getuid?.() || (mode & 0o077) !== 0) {
      throw refuse(place, 'it belongs to somebody else, or is open to others');
    }
  }
}

/** What a runtime that was killed has left of VMs that are no more. */
export function removeOtherSockets(folder: string, machines: readonly string[]): void {
  const known = new Set(machines);
  for (const name of readdirSync(folder)) {
    const machine = name.replace(/\.\d+$/, '');
    if (!known.has(machine)) rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/** One that holds something is left as it is. */
export function removeEmptyFolder(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // There are sockets in it, of a guest that goes on.
  }
}

function refuse(folder: string, why: string): Error {
  return errors.CROSTINI_ERR_SOCKET_FOLDER({ details: { folder, why } });
}
