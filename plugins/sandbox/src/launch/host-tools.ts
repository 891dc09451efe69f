// What this machine has to make jails of; looked for once.

import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { landlockVersion } from '@runtime/sdk/linux';

const run = promisify(execFile);
const PROBE_MS = 10_000;
const SYSTEM_FOLDERS = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'];

export interface HostTools {
  /** bubblewrap that was seen to work. */
  readonly bubblewrap: string | undefined;
  /** Why there is none. */
  readonly bubblewrapWhy: string;
  readonly setpriv: string | undefined;
  /** 0: the kernel has none. */
  readonly landlock: number;
}

/** A program of the system. */
export function findTool(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_FOLDERS];
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** All that the strictest of our jails asks of bubblewrap. */
const PROBE = [
  ...['--unshare-user', '--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--uid', '65534'],
  ...['--gid', '65534', '--ro-bind', '/', '/', '--proc', '/proc', '--cap-drop', 'ALL', '--as-pid-1', '--', '/bin/true'],
];

let found: Promise<HostTools> | undefined;

export function hostTools(): Promise<HostTools> {
  found ??= look();
  return found;
}

async function look(): Promise<HostTools> {
  const [setpriv, landlock] = [findTool('setpriv'), landlockVersion()];
  const program = findTool('bwrap');
  if (program === undefined) {
    return { bubblewrap: undefined, bubblewrapWhy: 'there is no bwrap', setpriv, landlock };
  }
  try {
    await run(program, PROBE, { timeout: PROBE_MS });
    return { bubblewrap: program, bubblewrapWhy: '', setpriv, landlock };
  } catch (e) {
    const said = (e as { stderr?: string }).stderr?.trim().split('\n').at(-1);
    return { bubblewrap: undefined, bubblewrapWhy: said || (e as Error).message, setpriv, landlock };
  }
}

/** Whether the kernel has filters of system calls. */
export function hasSeccomp(): boolean {
  return /^Seccomp:/m.test(readFileSync('/proc/self/status', 'latin1'));
}
