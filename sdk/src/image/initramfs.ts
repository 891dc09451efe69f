// Initial file systems: busybox, kernel modules, programs with the libraries they need, and a script as process 1.

import { lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { errors } from '../errors.ts';
import { type CpioEntry, writeCpio } from './cpio.ts';
import { elfNeeds } from './elf.ts';
import type { Module } from './modules.ts';

export interface InitramfsSpec {
  /** A static busybox. */
  readonly busybox: Uint8Array;
  readonly modules: readonly Module[];
  /** Those which the script inserts when what is urgent is done. */
  readonly laterModules?: readonly Module[];
  /**
   * The script that is process 1, for busybox's shell. The modules lie in /modules, and /modules/order has their names
   * in the order in which they are to be inserted, one a line; /modules/later those of the later ones.
   */
  readonly init: string;
  /** Programs out of unpacked packages; see {@link collectPrograms}. */
  readonly programs?: Readonly<Record<string, CpioEntry>>;
  /** More files, by path. */
  readonly files?: Readonly<Record<string, CpioEntry>>;
}

/** Folders which things are mounted on. */
const FOLDERS = ['proc', 'sys', 'dev', 'run', 'tmp', 'root', 'mnt', 'etc'];

export function buildInitramfs({ busybox, modules, laterModules = [], init, programs, files }: InitramfsSpec): Buffer {
  const entries: Record<string, CpioEntry> = {};
  for (const name of FOLDERS) entries[name] = name === 'tmp' ? { mode: 0o1777 } : {};
  // As in Debian, so that libraries are found where their packages put them.
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) entries[name] = { link: `usr/${name}` };
  entries['usr/sbin'] = { link: 'bin' };
  entries['usr/lib'] = {};
  entries['usr/lib64'] = {};
  entries['usr/bin/busybox'] = { content: busybox, mode: 0o755 };
  entries['usr/bin/sh'] = { link: 'busybox' };
  // The kernel opens it before anything is mounted.
  entries['dev/console'] = { device: { kind: 'char', major: 5, minor: 1 } };
  for (const { name, bytes } of [...modules, ...laterModules]) entries[`modules/${name}.ko`] = { content: bytes };
  const list = (of: readonly Module[]): CpioEntry => ({ content: of.map(({ name }) => `${name}\n`).join('') });
  entries['modules/order'] = list(modules);
  const first = new Set(modules.map(({ name }) => name));
  entries['modules/later'] = list(laterModules.filter(({ name }) => !first.has(name)));
  entries.init = { content: init, mode: 0o755 };
  return writeCpio({ ...entries, ...programs, ...files });
}

/** Where Debian's dynamic loader looks, below the root. */
function libraryFolders(root: string): string[] {
  const lib = join(root, 'usr/lib');
  const multiarch = readdirSync(lib).filter((name) => name.includes('-linux-gnu'));
  return [...multiarch.map((name) => `usr/lib/${name}`), 'usr/lib'];
}

/** Programs need some ten libraries; more than this is a circle that was not seen. */
const LIBRARIES_MAX = 500;

/**
 * Programs, by their paths in a folder of unpacked packages, with their libraries and dynamic loader. Libraries which a
 * program opens by itself while it runs are not found.
 * @throws SDK_ERR_IMAGE_FORMAT when a program or a library of it is not there
 */
export function collectPrograms(root: string, programs: readonly string[]): Record<string, CpioEntry> {
  const out: Record<string, CpioEntry> = {};
  const folders = libraryFolders(root);
  const lacking = (file: string, why: string) => errors.SDK_ERR_IMAGE_FORMAT({ details: { file, why } });
  const queue = programs.map((path) => path.replace(/^\/+/, ''));
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    if (path in out) continue;
    if (Object.keys(out).length > LIBRARIES_MAX) throw lacking(programs.join(' '), 'it needs too many libraries');
    const file = resolveIn(root, path);
    if (file === undefined) throw lacking(path, 'it is in none of the packages');
    const bytes = readFileSync(join(root, file));
    out[path] = { content: bytes, mode: statSync(join(root, file)).mode & 0o777 };
    const needs = elfNeeds(bytes);
    if (needs === undefined) throw lacking(path, 'it is no ELF file');
    if (needs.interpreter !== undefined) queue.push(merged(needs.interpreter));
    for (const name of needs.libraries) {
      const at = folders.map((folder) => `${folder}/${basename(name)}`).find((p) => resolveIn(root, p) !== undefined);
      if (at === undefined) throw lacking(name, `${path} needs this library, which is in none of the packages`);
      queue.push(at);
    }
  }
  return out;
}

/** The same path where /bin, /sbin, /lib and /lib64 are links into /usr. */
function merged(path: string): string {
  return path.replace(/^\/+/, '').replace(/^(bin|sbin|lib|lib64)\//, 'usr/$1/');
}

const LINKS_MAX = 16;

/** Follows links as they would be followed were `root` the root, so that none leads out of it. */
function resolveIn(root: string, path: string): string | undefined {
  let at = merged(posix.normalize(`/${path}`));
  for (let i = 0; i < LINKS_MAX; i++) {
    const stats = lstatSync(join(root, at), { throwIfNoEntry: false });
    if (stats?.isFile() === true) return at;
    if (stats?.isSymbolicLink() !== true) return undefined;
    at = merged(posix.resolve('/', dirname(at), readlinkSync(join(root, at))));
  }
  return undefined;
}
