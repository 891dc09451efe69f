// What a machine has to have before anything runs in it.

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { isLinuxError, MOUNT } from '@runtime/sdk/linux';
import type { Log } from './log.ts';
import type { System } from './system.ts';

interface InitMount {
  readonly type: string;
  readonly target: string;
  readonly flags: number;
  readonly data?: string;
  /** Guests do without it. */
  readonly optional?: boolean;
}

const { noSuid, noDev, noExec } = MOUNT;
const LOCKED = noSuid | noDev | noExec;

/** In this order; what is not empty already is made on what was mounted before. */
const MOUNTS: readonly InitMount[] = [
  { type: 'proc', target: '/proc', flags: LOCKED },
  { type: 'sysfs', target: '/sys', flags: LOCKED },
  { type: 'devtmpfs', target: '/dev', flags: noSuid | noExec, data: 'mode=0755', optional: true },
  { type: 'tmpfs', target: '/tmp', flags: LOCKED, data: 'mode=1777' },
  { type: 'tmpfs', target: '/run', flags: noSuid | noDev, data: 'mode=0755' },
  { type: 'tmpfs', target: '/var', flags: noSuid | noDev, data: 'mode=0755' },
  { type: 'tmpfs', target: '/mnt/external', flags: LOCKED, data: 'mode=0755', optional: true },
  { type: 'tmpfs', target: '/mnt/shared', flags: LOCKED, data: 'mode=0755', optional: true },
  { type: 'tmpfs', target: '/dev/shm', flags: noSuid | noDev, data: 'mode=1777' },
  { type: 'devpts', target: '/dev/pts', flags: noSuid | noExec, data: 'gid=5,mode=0620,ptmxmode=666' },
  { type: 'cgroup2', target: '/sys/fs/cgroup', flags: LOCKED, optional: true },
  { type: 'securityfs', target: '/sys/kernel/security', flags: LOCKED, optional: true },
];

/** The kernel loads the module of this one: it comes after the rest. Changes to /etc last as long as the machine runs. */
const ETC_OVERLAY: InitMount = {
  ...{ type: 'overlay', target: '/etc', flags: noSuid | noDev, optional: true },
  data: 'lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work',
};

const FOLDERS: readonly (readonly [path: string, mode: number])[] = [
  ...['/run/lock', '/run/sshd', '/run/etc/upper', '/run/etc/work', '/run/user'].map((path) => [path, 0o755] as const),
  ['/run/tokens', 0o1777],
  ...['cache', 'empty', 'lib/dbus', 'lib/lxc/rootfs', 'lib/lxcfs', 'lib/lxd', 'lib/misc', 'log', 'spool'].map(
    (path) => [`/var/${path}`, 0o755] as const,
  ),
  ['/var/tmp', 0o1777],
];

const LINKS: readonly (readonly [path: string, to: string])[] = [
  ['/var/run', '/run'],
  ['/var/lock', '/run/lock'],
  ['/dev/fd', '/proc/self/fd'],
  ['/dev/stdin', '/proc/self/fd/0'],
  ['/dev/stdout', '/proc/self/fd/1'],
  ['/dev/stderr', '/proc/self/fd/2'],
];

const SYSCTLS: readonly (readonly [name: string, value: string])[] = [
  // Else the kernel drops all but ten lines in five seconds of what it is given to log.
  ['kernel/printk_devkmsg', 'on\n'],
  ...['max_queued_events', 'max_user_instances', 'max_user_watches'].map(
    (name) => [`fs/inotify/${name}`, '1048576'] as const,
  ),
  ['vm/max_map_count', '262144'],
  ['net/core/rmem_max', '2097152'],
];

const OPEN_FILES_MAX = 1_048_576;
const HOST_NAME_MAX = 64;

/** What ends here ends the machine. @throws Error of the first mount that cannot be done without */
export function initialiseMachine(system: System, log: Log): void {
  for (const mount of MOUNTS) mountFor(system, log, mount);
  for (const [path, mode] of FOLDERS) attempt(log, () => mkdirSync(system.root + path, { recursive: true, mode }));
  for (const [path, to] of LINKS) attempt(log, () => symlinkSync(to, system.root + path), 'EEXIST');
  for (const [name, value] of SYSCTLS) attempt(log, () => writeFileSync(`${system.root}/proc/sys/${name}`, value));
  attempt(log, () => system.setResourceLimit('openFiles', OPEN_FILES_MAX));
  attempt(log, () => system.setResourceLimit('lockedMemory', undefined));
  attempt(log, () => system.setInterfaceUp('lo', true));
  attempt(log, () => system.setHostName(hostNameOf(readFileSync(`${system.root}/etc/hostname`, 'utf8'))));
}

/** What nothing waits for at first. */
export function finishMachine(system: System, log: Log): void {
  mountFor(system, log, ETC_OVERLAY);
}

/** The first line that is no comment. */
export function hostNameOf(text: string): string {
  const line = text.split('\n').find((one) => one.trim() !== '' && !one.startsWith('#')) ?? '';
  return line.trim().slice(0, HOST_NAME_MAX);
}

function mountFor(system: System, log: Log, { type, target, flags, data, optional }: InitMount): void {
  const path = system.root + target;
  try {
    mkdirSync(path, { recursive: true });
  } catch {
    // The root cannot be written to; then either the folder is there, or mounting says so.
  }
  try {
    system.mount({ source: type, target: path, type, flags, ...(data === undefined ? {} : { data }) });
  } catch (e) {
    // Whoever started this has been here before.
    if (isLinuxError(e, 'EBUSY')) return;
    if (optional !== true) throw e;
    log('warning', `${target} has no ${type}: ${(e as Error).message}`);
  }
}

function attempt(log: Log, fn: () => void, ...expected: readonly string[]): void {
  try {
    fn();
  } catch (e) {
    if (!expected.includes((e as NodeJS.ErrnoException).code ?? '')) log('warning', (e as Error).message);
  }
}
