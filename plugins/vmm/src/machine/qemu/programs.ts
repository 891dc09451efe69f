// Where QEMU and its firmware are.

import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** QEMU of the architecture of this computer; guests of others are not offered. */
const PROGRAM = process.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
/** Debian, Fedora, Arch and what was built by hand. */
const FIRMWARE_FOLDERS = ['/usr/share/qemu', '/usr/share/qemu-kvm', '/usr/local/share/qemu'];

export const QEMU_PROGRAM: string = PROGRAM;

/** @param named from the configuration: a path, or a name on PATH. `undefined`: not there, or not to be run */
export function findProgram(named: string, path: string = process.env.PATH ?? ''): string | undefined {
  if (named.includes('/')) return isExecutable(named) ? named : undefined;
  const folders = path.split(delimiter).filter((folder) => folder.startsWith('/'));
  return folders.map((folder) => join(folder, named)).find(isExecutable);
}

export function findFirmware(): string | undefined {
  return FIRMWARE_FOLDERS.map((folder) => join(folder, 'qboot.rom')).find(
    (file) => statSync(file, { throwIfNoEntry: false })?.isFile() === true,
  );
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
