// The jail of a device process. It has a filesystem of its own with nothing in it but the code that it runs, namespaces of
// its own of every kind, no capabilities; and it locks itself down before it sees a guest.

import { existsSync, lstatSync, readlinkSync, realpathSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { dirname, isAbsolute, join } from 'node:path';
import { z } from 'zod';
import type { SystemCalls } from './device-filter.ts';
import { type JailMount, type JailPlan, parsePlan } from './plan.ts';

/** As plugins/vmm gives it to its processes. */
export const deviceJailSchema = z.object({
  profile: z.literal('device'),
  plan: z.object({
    paths: z.array(z.string().startsWith('/')).max(64),
    syscalls: z.array(z.string().regex(/^[a-z0-9_]{1,64}$/)).max(512),
    ioctls: z.array(z.int().min(0).max(0xffff_ffff)).max(512),
  }),
  /** Folders that its code lies in. */
  code: z.array(z.string().startsWith('/')).max(16).default([]),
});
export type DeviceJail = z.infer<typeof deviceJailSchema>;

/** Nobody: of no file that a process of ours needs. */
const NOBODY = 65_534;
const MIB = 2 ** 20;
/** Private memory; what is shared with the machine does not count. V8 takes up to 192 MiB, and needs as much for copies. */
const DATA_BYTES = 2048 * MIB;
const MAX_DESCRIPTORS = 65_536;
const SYSTEM_FOLDERS = ['/lib', '/lib32', '/lib64', '/libx32'];
/** What the dynamic linker reads. */
const LINKER_FILES = ['/etc/ld.so.cache'];

export interface ProgramPlace {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Where its code lies, as absolute paths without symbolic links. */
export function codeFolders({ code, plan }: DeviceJail, { argv, env }: ProgramPlace): readonly string[] {
  const own = [
    import.meta.filename,
    realpathSync(findPackageJSON('@runtime/sdk', import.meta.url) ?? import.meta.filename),
  ];
  const cache = env.NODE_COMPILE_CACHE;
  const named = argv.slice(1).filter((word) => isAbsolute(word) && existsSync(word));
  const all = [
    ...own.map(installationOf),
    ...[...code, ...named.map(dirname)].map(installationOf),
    ...plan.paths,
    ...(cache === undefined ? [] : [cache]),
  ].filter((path) => existsSync(path));
  const folders = [...new Set(all.map((path) => realpathSync(path)))].sort();
  return folders.filter((folder) => !folders.some((other) => other !== folder && folder.startsWith(`${other}/`)));
}

/** The topmost folder with packages above a file: code that it imports lies in there too. */
function installationOf(path: string): string {
  let found: string | undefined;
  for (let folder = path; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'node_modules'))) found = folder;
  }
  return found ?? path;
}

/** @throws SANDBOX_ERR_JAIL */
export function devicePlan(jail: DeviceJail, program: ProgramPlace): JailPlan {
  const node = realpathSync(process.execPath);
  const folders = codeFolders(jail, program);
  const mounts: Partial<JailMount>[] = [
    bind('/usr'),
    ...SYSTEM_FOLDERS.filter((path) => existsSync(path)).map(systemFolder),
    ...LINKER_FILES.map((path) => ({ ...bind(path), optional: true })),
    { kind: 'proc', target: '/proc' },
    { kind: 'dir', target: '/dev' },
    { ...bind('/dev/null'), devices: true, writable: true },
    ...folders.map(bind),
    ...(folders.some((folder) => node.startsWith(`${folder}/`)) || node.startsWith('/usr/') ? [] : [bind(node)]),
  ];
  return parsePlan(
    {
      namespaces: {
        ...{ mount: 'new', pid: 'new', user: 'new', net: 'new' },
        ...{ ipc: 'new', uts: 'new', cgroup: existsSync('/proc/self/ns/cgroup') ? 'new' : 'host' },
      },
      hostname: 'device',
      root: 'empty',
      mounts,
      ...{ uid: NOBODY, gid: NOBODY, capabilities: [], noNewPrivileges: true, init: 'program' },
      rlimits: [
        { resource: 'core', soft: 0, hard: 0 },
        { resource: 'data', soft: DATA_BYTES, hard: DATA_BYTES },
      ],
      landlock: { abi: 5, rules: landlockRules(folders, node) },
      environment: { inherit: false, set: {} },
    },
    'the jail of a device',
  );
}

export function landlockRules(folders: readonly string[], node: string): { path: string; access: 'rx' }[] {
  return [...folders, '/usr', ...SYSTEM_FOLDERS, ...LINKER_FILES, '/proc/self', node]
    .filter((path) => existsSync(path))
    .map((path) => ({ path, access: 'rx' }));
}

function bind(path: string): Partial<JailMount> {
  return { kind: 'bind', source: path, target: path };
}

/** A folder, or the link into /usr that most systems have. */
function systemFolder(path: string): Partial<JailMount> {
  return lstatSync(path).isSymbolicLink() ? { kind: 'symlink', source: readlinkSync(path), target: path } : bind(path);
}

export const DESCRIPTOR_LIMIT: { readonly resource: string; readonly soft: bigint; readonly hard: bigint } = {
  resource: 'nofile',
  soft: BigInt(MAX_DESCRIPTORS),
  hard: BigInt(MAX_DESCRIPTORS),
};
export type { SystemCalls };
