// Kernel modules and what they need, read from the modules themselves (`depends` and `softdep` in .modinfo, see
// modinfo(8)), so that neither depmod nor an index is needed.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { errors } from '../errors.ts';
import { elfSection } from './elf.ts';
import { run } from './tool.ts';

export interface ModuleInfo {
  /** Modules which must be there before. */
  readonly depends: readonly string[];
  /** Those which should; one that is lacking is no error, as it may be built in or an alias. */
  readonly before: readonly string[];
}

export interface Module {
  /** As in /proc/modules, with underscores. */
  readonly name: string;
  /** Uncompressed. */
  readonly bytes: Buffer;
}

/** The larger ones have some 10 MB. */
const MODULE_MAX_BYTES = 128 * 1024 * 1024;

/** A module is called the same with dashes and underscores. */
export const moduleName = (name: string): string => name.replaceAll('-', '_');

/** What a module says about itself; `undefined` for a file that is no module. */
export function parseModinfo(module: Buffer): ModuleInfo | undefined {
  const section = elfSection(module, '.modinfo');
  if (section === undefined) return undefined;
  const depends: string[] = [];
  const before: string[] = [];
  for (const line of section.toString('latin1').split('\0')) {
    if (line.startsWith('depends=')) depends.push(...line.slice(8).split(',').filter(Boolean).map(moduleName));
    if (!line.startsWith('softdep=')) continue;
    const pre = /(?:^|\s)pre:\s*((?:(?!\S+:)\S+\s*)*)/.exec(line.slice(8))?.[1] ?? '';
    before.push(...pre.split(/\s+/).filter(Boolean).map(moduleName));
  }
  return { depends, before };
}

/** Wherever names come from a file, this bounds them. */
const MODULES_MAX = 4096;

/**
 * Names in an order in which they can be inserted: each after what it needs, else as wanted. Needs that go round in a
 * circle, which no sound kernel has, are cut.
 */
export async function loadOrder(
  wanted: readonly string[],
  infoOf: (name: string, by: string | undefined) => Promise<ModuleInfo | undefined>,
): Promise<string[]> {
  const seen = new Set<string>();
  const order: string[] = [];
  const visit = async (name: string, by: string | undefined): Promise<void> => {
    if (seen.has(name) || seen.size >= MODULES_MAX) return;
    seen.add(name);
    const info = await infoOf(name, by);
    if (info === undefined) return;
    for (const other of [...info.before, ...info.depends]) await visit(other, name);
    order.push(name);
  };
  for (const name of wanted) await visit(moduleName(name), undefined);
  return order;
}

export interface ModuleTree {
  /** `<somewhere>/lib/modules/<release>` */
  readonly folder: string;
  readonly release: string;
}

/**
 * The modules of these names with all that they need, uncompressed, in the order in which they are inserted. What is
 * built into the kernel is left out.
 * @throws SDK_ERR_IMAGE_MODULE for one which the kernel has in no form
 */
export async function collectModules(tree: ModuleTree, wanted: readonly string[]): Promise<Module[]> {
  const files = findModules(tree.folder);
  const builtIn = builtInModules(tree.folder);
  const bytes = new Map<string, Buffer>();
  const soft = new Set<string>();
  const order = await loadOrder(wanted, async (name, by) => {
    const file = files.get(name);
    if (file === undefined) {
      if (builtIn.has(name) || soft.has(name)) return undefined;
      throw errors.SDK_ERR_IMAGE_MODULE({
        details: { release: tree.release, module: name, by: by ?? 'this initial file system' },
      });
    }
    const module = await unpackModule(file);
    const info = parseModinfo(module);
    if (info === undefined) {
      throw errors.SDK_ERR_IMAGE_FORMAT({ details: { file, why: 'it is no kernel module' } });
    }
    bytes.set(name, module);
    // Of an algorithm, such as crc32c, the plain implementation is enough; the faster ones take its name as well.
    const before = info.before.map((other) => (files.has(other) ? other : `${other}_generic`));
    for (const other of before) soft.add(other);
    return { ...info, before };
  });
  return order.map((name) => ({ name, bytes: bytes.get(name) as Buffer }));
}

function findModules(folder: string): Map<string, string> {
  const out = new Map<string, string>();
  for (const entry of readdirSync(join(folder, 'kernel'), { recursive: true, withFileTypes: true })) {
    const name = /^(.*)\.ko(\.(xz|gz|zst))?$/.exec(entry.name)?.[1];
    if (name !== undefined && entry.isFile()) out.set(moduleName(name), join(entry.parentPath, entry.name));
  }
  return out;
}

function builtInModules(folder: string): Set<string> {
  const names = readFileSync(join(folder, 'modules.builtin'), 'utf8')
    .split('\n')
    .map((line) => /([^/]+)\.ko$/.exec(line.trim())?.[1] ?? '');
  return new Set(names.filter(Boolean).map(moduleName));
}

const SIGNATURE_END = '~Module signature appended~\n';
/** `struct module_signature`, whose last field is the length of the signature; include/linux/module_signature.h */
const SIGNATURE_BYTES = 12;

/**
 * A module without the signature behind it. To check one costs 10 ms under emulation, and only a kernel that enforces
 * signatures, which no guest of ours is told to do, insists on them; others note that they are lacking ("taint E").
 */
export function withoutSignature(module: Buffer): Buffer {
  const end = module.length - SIGNATURE_END.length;
  if (end < SIGNATURE_BYTES || module.toString('latin1', end) !== SIGNATURE_END) return module;
  const length = module.readUInt32BE(end - 4);
  return end - SIGNATURE_BYTES < length ? module : module.subarray(0, end - SIGNATURE_BYTES - length);
}

async function unpackModule(file: string): Promise<Buffer> {
  const bytes = readFileSync(file);
  const limit = { maxOutputLength: MODULE_MAX_BYTES };
  if (file.endsWith('.gz')) return promisify(gunzip)(bytes, limit);
  if (file.endsWith('.zst')) return promisify(zstdDecompress)(bytes, limit);
  if (!file.endsWith('.xz')) return bytes;
  return run('xz', ['-dc'], { what: 'unpacking kernel modules', input: bytes, limit: MODULE_MAX_BYTES });
}
