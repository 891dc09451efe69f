// What a thread may reach of the file system and the network, landlock(7). Numbers from include/uapi/linux/landlock.h.

import { closeSync, constants, openSync, statSync } from 'node:fs';
import { errors } from '../errors.ts';
import { check, declare } from './call.ts';
import { setNoNewPrivileges } from './prctl.ts';
import { syscallNumber } from './syscall-numbers.ts';

// ABI: three system calls through syscall(2), landlock_create_ruleset(2) and its like. Linux 5.13. Structures are read
// during the call.
const landlockCall = declare<[number: number, a: number, b: number, c: Uint8Array | null, d: number], number | bigint>(
  'long syscall(long number, long a, long b, const void *c, long d)',
);
const createCall = declare<[number: number, attr: Uint8Array | null, size: number, flags: number], number | bigint>(
  'long syscall(long number, const void *attr, long size, long flags)',
);

const CREATE_RULESET_VERSION = 1;
const RULE_PATH_BENEATH = 1;
/** LANDLOCK_ACCESS_FS_*, by the version that brought them. */
const FS = {
  execute: 1n << 0n,
  writeFile: 1n << 1n,
  readFile: 1n << 2n,
  readDir: 1n << 3n,
  truncate: 1n << 14n,
  ioctlDev: 1n << 15n,
} as const;
const FS_BITS = [0, 13, 14, 15, 15, 16, 16] as const;
/** Rights that make sense for what is no folder. */
const OF_FILES = FS.execute | FS.writeFile | FS.readFile | FS.truncate | FS.ioctlDev;
/** Making, removing and renaming of files and folders; of links, sockets, pipes and devices too. */
const MAKE_PLAIN = (1n << 4n) | (1n << 5n) | (1n << 7n) | (1n << 8n);
const MAKE_SPECIAL = (1n << 6n) | (1n << 9n) | (1n << 10n) | (1n << 11n) | (1n << 12n) | (1n << 13n);
const NET_FROM = 4;
const NET_BIND_CONNECT_TCP = 3n;
const SCOPE_FROM = 6;
/** Abstract sockets and signals of processes outside. */
const SCOPE_ALL = 3n;

export type LandlockAccess = 'ro' | 'rx' | 'rw' | 'advanced-rw';

const ACCESS: Readonly<Record<LandlockAccess, bigint>> = {
  ro: FS.readFile | FS.readDir,
  rx: FS.readFile | FS.readDir | FS.execute,
  rw: FS.readFile | FS.readDir | FS.writeFile | FS.truncate | FS.ioctlDev | MAKE_PLAIN,
  'advanced-rw': FS.readFile | FS.readDir | FS.writeFile | FS.truncate | FS.ioctlDev | MAKE_PLAIN | MAKE_SPECIAL,
};

export interface LandlockRule {
  /** Absolute; a folder stands for all below it. What does not exist is passed over. */
  readonly path: string;
  readonly access: LandlockAccess;
}

export interface LandlockOptions {
  readonly rules: readonly LandlockRule[];
  /** No TCP at all, where the kernel has version 4. Default false. */
  readonly noTcp?: boolean;
  /** No signals to processes outside and none of their abstract sockets, where the kernel has version 6. Default false. */
  readonly scoped?: boolean;
  /** The newest version that is made use of. */
  readonly atMost?: number;
}

/** The version of landlock that the kernel has; 0: none, or it is switched off. */
export function landlockVersion(): number {
  try {
    return check(
      'landlock_create_ruleset',
      createCall(syscallNumber('landlock_create_ruleset'), null, 0, CREATE_RULESET_VERSION),
    );
  } catch {
    return 0;
  }
}

/**
 * This thread, and all that it starts from now on, reaches nothing but what the rules name, for good. Other threads that
 * run already are not held: call it before the pool of threads is used. Sets no_new_privs.
 * @returns the version that was made use of @throws SDK_ERR_PLATFORM where the kernel has none, LinuxError
 */
export function restrictSelf({ rules, noTcp = false, scoped = false, atMost = 6 }: LandlockOptions): number {
  const version = Math.min(landlockVersion(), atMost, FS_BITS.length - 1);
  if (version < 1) throw errors.SDK_ERR_PLATFORM({ details: { what: 'landlock', platform: 'this kernel' } });
  const handled = (1n << BigInt(FS_BITS[version] as number)) - 1n;
  const attributes = new BigUint64Array([
    handled,
    noTcp && version >= NET_FROM ? NET_BIND_CONNECT_TCP : 0n,
    scoped && version >= SCOPE_FROM ? SCOPE_ALL : 0n,
  ]);
  // struct landlock_ruleset_attr has grown; an older kernel takes only what it knows.
  const size = version >= SCOPE_FROM ? 24 : version >= NET_FROM ? 16 : 8;
  const create = syscallNumber('landlock_create_ruleset');
  const ruleset = check(
    'landlock_create_ruleset',
    createCall(create, new Uint8Array(attributes.buffer, 0, size), size, 0),
  );
  try {
    for (const rule of rules) addRule(ruleset, rule, handled);
    setNoNewPrivileges();
    const restrict = syscallNumber('landlock_restrict_self');
    check('landlock_restrict_self', landlockCall(restrict, ruleset, 0, null, 0));
  } finally {
    closeSync(ruleset);
  }
  return version;
}

const O_PATH = 0o10000000;

function addRule(ruleset: number, { path, access }: LandlockRule, handled: bigint): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  const allowed = ACCESS[access] & handled & (stat.isDirectory() ? ~0n : OF_FILES);
  const fd = openSync(path, O_PATH | constants.O_RDONLY);
  try {
    // struct landlock_path_beneath_attr { __u64 allowed_access; __s32 parent_fd; }, packed
    const rule = Buffer.alloc(12);
    rule.writeBigUInt64LE(allowed, 0);
    rule.writeInt32LE(fd, 8);
    check('landlock_add_rule', landlockCall(syscallNumber('landlock_add_rule'), ruleset, RULE_PATH_BENEATH, rule, 0));
  } finally {
    closeSync(fd);
  }
}
