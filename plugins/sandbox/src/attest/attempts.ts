// What somebody tries who has taken over a process and wants out of it. Each attempt does no harm where it succeeds.

import { spawnSync } from 'node:child_process';
import { mapAnonymous, systemCall } from '@runtime/sdk/linux';

/** What there is to be got at, made by whoever starts the battery. */
export interface Targets {
  /** A file of the host that is none of its business. */
  readonly secret: string;
  /** A folder that all may write to. */
  readonly folder: string;
  /** A process of the same user. */
  readonly neighbour: number;
  /** An abstract socket that somebody listens at, without its NUL. */
  readonly socket: string;
  /** A descriptor of its own that is open for reading only. */
  readonly readOnlyFd: number;
}

export interface Attempt {
  readonly group: 'files' | 'processes' | 'sockets' | 'kernel' | 'exhaustion';
  readonly what: string;
  /** As a system call does: negative for an error. */
  readonly run: (kit: Kit) => number;
}

/** System calls by name, and memory for their arguments. */
export class Kit {
  readonly targets: Targets;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #memory = mapAnonymous(65_536);
  #used = 0;

  constructor(targets: Targets, numbers: ReadonlyMap<string, number>) {
    this.targets = targets;
    this.#numbers = numbers;
  }

  call(name: string, ...args: readonly (number | string | Uint8Array)[]): number {
    const number = this.#numbers.get(name);
    if (number === undefined) return -38;
    this.#used = 0;
    return systemCall(number, ...args.map((arg) => (typeof arg === 'number' ? arg : this.put(arg))));
  }

  /** The same call by another number: that of the x32 ABI. */
  callX32(name: string): number {
    return systemCall((this.#numbers.get(name) ?? 0) + 0x4000_0000);
  }

  /** Opens and closes. */
  open(path: string, flags = 0): number {
    return this.closed(this.call('openat', AT_FDCWD, path, flags, 0o600));
  }

  closed(fd: number): number {
    if (fd >= 0) this.call('close', fd);
    return Math.min(fd, 0);
  }

  put(value: string | Uint8Array): number {
    const bytes = typeof value === 'string' ? Buffer.from(`${value}\0`) : value;
    const at = this.#used;
    this.#used += Math.ceil(bytes.length / 16) * 16;
    new Uint8Array(this.#memory.buffer).set(bytes, at);
    return this.#memory.address + at;
  }

  /** Room for an answer, or a structure of zeros. */
  zeros(length: number): number {
    return this.put(new Uint8Array(length));
  }
}

const AT_FDCWD = -100;
const O = { WRONLY: 1, RDWR: 2, CREAT: 0o100, PATH: 0o10000000, TMPFILE: 0o20200000 } as const;
const CLONE = { NEWNS: 0x20000, NEWUTS: 0x4000000, NEWNET: 0x40000000 } as const;
const FAMILIES = { unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17, alg: 38, vsock: 40 } as const;
const [STREAM, DGRAM, RAW, SEQPACKET] = [1, 2, 3, 5];
const PTRACE_SEIZE = 0x4206;
const PTRACE_DETACH = 17;

const u64 = (...values: readonly number[]) => new Uint8Array(new BigUint64Array(values.map((v) => BigInt(v))).buffer);
const u32 = (...values: readonly number[]) => new Uint8Array(new Uint32Array(values).buffer);

function socket(name: string, family: number, type: number, protocol = 0): Attempt {
  return {
    group: 'sockets',
    what: `socket of family ${name}`,
    run: (kit) => kit.closed(kit.call('socket', family, type, protocol)),
  };
}

const files: readonly Omit<Attempt, 'group'>[] = [
  { what: 'read a file of the host', run: (kit) => kit.open(kit.targets.secret) },
  { what: 'read it through /proc/self/root', run: (kit) => kit.open(`/proc/self/root${kit.targets.secret}`) },
  { what: 'read it through /proc/1/root', run: (kit) => kit.open(`/proc/1/root${kit.targets.secret}`) },
  { what: 'read it through ../../..', run: (kit) => kit.open(`${'../'.repeat(20)}${kit.targets.secret.slice(1)}`) },
  {
    what: 'read it by openat2',
    run: (kit) => kit.closed(kit.call('openat2', AT_FDCWD, kit.targets.secret, u64(0, 0, 0), 24)),
  },
  {
    what: 'read it through a neighbour (/proc/PID/root)',
    run: (kit) => kit.open(`/proc/${kit.targets.neighbour}/root${kit.targets.secret}`),
  },
  {
    what: 'see that it is there',
    run: (kit) => kit.call('newfstatat', AT_FDCWD, kit.targets.secret, new Uint8Array(256), 0),
  },
  { what: 'list the users', run: (kit) => kit.open('/etc/passwd') },
  { what: 'make a file', run: (kit) => kit.open(`${kit.targets.folder}/made`, O.CREAT | O.RDWR) },
  { what: 'make a file without a name', run: (kit) => kit.open(kit.targets.folder, O.TMPFILE | O.RDWR) },
  { what: 'write to a file of the host', run: (kit) => kit.open(kit.targets.secret, O.WRONLY) },
  { what: 'change its mode', run: (kit) => kit.call('fchmodat', AT_FDCWD, kit.targets.secret, 0o644) },
  { what: 'truncate it', run: (kit) => kit.call('truncate', kit.targets.secret, 6) },
  {
    what: 'make a symbolic link',
    run: (kit) => kit.call('symlinkat', '/', AT_FDCWD, `${kit.targets.folder}/link-${process.pid}`),
  },
  {
    what: 'make a folder',
    run: (kit) => kit.call('mkdirat', AT_FDCWD, `${kit.targets.folder}/dir-${process.pid}`, 0o700),
  },
  {
    what: 'open what it may only read for writing',
    run: (kit) => kit.open(`/proc/self/fd/${kit.targets.readOnlyFd}`, O.RDWR),
  },
  {
    what: 'make a device node',
    run: (kit) => kit.call('mknodat', AT_FDCWD, `${kit.targets.folder}/node-${process.pid}`, 0o20600, 0x103),
  },
  { what: 'open /dev/mem or /dev/kmsg', run: (kit) => Math.max(kit.open('/dev/mem'), kit.open('/dev/kmsg')) },
  { what: 'open /dev/tty-like devices of others', run: (kit) => kit.open('/dev/ptmx', O.RDWR) },
  { what: 'open core_pattern for writing', run: (kit) => kit.open('/proc/sys/kernel/core_pattern', O.WRONLY) },
  { what: 'watch for accesses (inotify)', run: (kit) => kit.closed(kit.call('inotify_init1', 0)) },
  { what: 'watch a file system (fanotify)', run: (kit) => kit.closed(kit.call('fanotify_init', 0, 0)) },
];

const processes: readonly Omit<Attempt, 'group'>[] = [
  { what: 'signal a neighbour', run: (kit) => kit.call('kill', kit.targets.neighbour, 0) },
  { what: 'signal a thread of it', run: (kit) => kit.call('tgkill', kit.targets.neighbour, kit.targets.neighbour, 0) },
  {
    what: 'trace it (ptrace)',
    run: (kit) => {
      const answer = kit.call('ptrace', PTRACE_SEIZE, kit.targets.neighbour, 0, 0);
      if (answer >= 0) kit.call('ptrace', PTRACE_DETACH, kit.targets.neighbour, 0, 0);
      return answer;
    },
  },
  {
    what: 'read its memory (process_vm_readv)',
    // Of no length: allowed or not is said all the same.
    run: (kit) => kit.call('process_vm_readv', kit.targets.neighbour, u64(0, 0), 1, u64(0, 0), 1, 0),
  },
  { what: 'read its memory (/proc/PID/mem)', run: (kit) => kit.open(`/proc/${kit.targets.neighbour}/mem`) },
  { what: 'read its environment', run: (kit) => kit.open(`/proc/${kit.targets.neighbour}/environ`) },
  { what: 'open the memory of its VM (/proc/PID/fd)', run: (kit) => kit.open(`/proc/${kit.targets.neighbour}/fd/0`) },
  { what: 'get a handle of it (pidfd)', run: (kit) => kit.closed(kit.call('pidfd_open', kit.targets.neighbour, 0)) },
  {
    what: 'take a descriptor of it (pidfd_getfd)',
    run: (kit) => {
      const handle = kit.call('pidfd_open', kit.targets.neighbour, 0);
      return handle < 0 ? handle : kit.closed(kit.call('pidfd_getfd', handle, 0, 0));
    },
  },
  { what: 'change its limits', run: (kit) => kit.call('prlimit64', kit.targets.neighbour, 7, 0, new Uint8Array(16)) },
  { what: 'change its priority', run: (kit) => kit.call('setpriority', 0, kit.targets.neighbour, 0) },
  {
    what: 'start a program',
    run: () => (spawnSync('/usr/bin/true', { stdio: 'ignore' }).error === undefined ? 0 : -1),
  },
  {
    what: 'compare descriptors with a neighbour (kcmp)',
    run: (kit) => kit.call('kcmp', process.pid, kit.targets.neighbour, 3, 0, 0),
  },
];

const sockets: readonly Attempt[] = [
  socket('unix', FAMILIES.unix, STREAM),
  socket('inet', FAMILIES.inet, STREAM),
  socket('inet, datagrams', FAMILIES.inet, DGRAM),
  socket('inet6', FAMILIES.inet6, STREAM),
  socket('inet, raw', FAMILIES.inet, RAW, 1),
  socket('netlink', FAMILIES.netlink, RAW),
  socket('packet', FAMILIES.packet, RAW),
  socket('alg', FAMILIES.alg, SEQPACKET),
  socket('vsock', FAMILIES.vsock, STREAM),
  {
    group: 'sockets',
    what: 'reach an abstract socket (and pass descriptors)',
    run: (kit) => {
      const fd = kit.call('socket', FAMILIES.unix, STREAM, 0);
      if (fd < 0) return fd;
      const name = Buffer.from(`\x01\0\0${kit.targets.socket}`, 'latin1');
      const answer = kit.call('connect', fd, name, name.length);
      kit.closed(fd);
      return answer;
    },
  },
];

const kernel: readonly Omit<Attempt, 'group'>[] = [
  { what: 'new namespace of mounts', run: (kit) => kit.call('unshare', CLONE.NEWNS) },
  { what: 'new namespace of host names', run: (kit) => kit.call('unshare', CLONE.NEWUTS) },
  { what: 'new namespace of networks', run: (kit) => kit.call('unshare', CLONE.NEWNET) },
  {
    what: 'mount',
    run: (kit) => {
      const answer = kit.call('mount', 'none', kit.targets.folder, 'tmpfs', 0, 0);
      if (answer >= 0) kit.call('umount2', kit.targets.folder, 2);
      return answer;
    },
  },
  { what: 'mount by fsopen', run: (kit) => kit.closed(kit.call('fsopen', 'tmpfs', 0)) },
  { what: 'chroot', run: (kit) => kit.call('chroot', '/') },
  {
    what: 'load a BPF map',
    run: (kit) => kit.closed(kit.call('bpf', 0, u32(2, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 72)),
  },
  { what: 'session keyring', run: (kit) => Math.min(0, kit.call('keyctl', 0, -3, 0)) },
  { what: 'add a key', run: (kit) => Math.min(0, kit.call('add_key', 'user', 'attest', 'x', 1, -2)) },
  {
    what: 'performance counters',
    run: (kit) => kit.closed(kit.call('perf_event_open', perfAttributes(), 0, -1, -1, 0)),
  },
  { what: 'userfaultfd', run: (kit) => kit.closed(kit.call('userfaultfd', 1)) },
  { what: 'secret memory', run: (kit) => kit.closed(kit.call('memfd_secret', 0)) },
  { what: 'ports of I/O', run: (kit) => kit.call('iopl', 3) },
  { what: 'another personality', run: (kit) => Math.min(0, kit.call('personality', 0xffff_ffff)) },
  { what: 'become another user', run: (kit) => kit.call('setresuid', 0xffff_ffff, 0xffff_ffff, 0xffff_ffff) },
  { what: 'change groups', run: (kit) => kit.call('setgroups', 0, 0) },
  { what: 'capabilities', run: (kit) => kit.call('capset', u32(0x20080522, 0), new Uint8Array(24)) },
  { what: 'clock', run: (kit) => Math.min(0, kit.call('clock_adjtime', 0, new Uint8Array(256))) },
  { what: 'kernel messages', run: (kit) => Math.min(0, kit.call('syslog', 10, 0, 0)) },
  { what: 'System V shared memory', run: (kit) => Math.min(0, kit.call('shmget', 0, 4096, 0o1600)) },
  { what: 'POSIX message queue', run: (kit) => kit.closed(kit.call('mq_open', 'attest', O.CREAT | O.RDWR, 0o600, 0)) },
  { what: 'a system call by the x32 entry', run: (kit) => Math.min(0, kit.callX32('getpid')) },
];

function perfAttributes(): Uint8Array {
  const attributes = new Uint8Array(128);
  // PERF_TYPE_SOFTWARE, sizeof(struct perf_event_attr), PERF_COUNT_SW_CPU_CLOCK; without the kernel's part
  new Uint32Array(attributes.buffer).set([1, 128]);
  new Uint32Array(attributes.buffer).set([0x60], 10);
  return attributes;
}

const GIB = 2 ** 30;
const exhaustion: readonly Omit<Attempt, 'group'>[] = [
  {
    what: '8 GiB of memory',
    run: (kit) => {
      // PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE
      const address = kit.call('mmap', 0, 8 * GIB, 3, 0x4022, -1, 0);
      if (address > 0) kit.call('munmap', address, 8 * GIB);
      return Math.min(0, address);
    },
  },
  {
    what: 'more processes',
    run: () => (spawnSync('/usr/bin/true', { stdio: 'ignore' }).error === undefined ? 0 : -1),
  },
  { what: 'files on the disk', run: (kit) => kit.open(`${kit.targets.folder}/big`, O.CREAT | O.WRONLY) },
  { what: 'more descriptors than its limit', run: (kit) => kit.call('prlimit64', 0, 7, u64(2 ** 20, 2 ** 20), 0) },
];

const inGroup = (group: Attempt['group'], list: readonly Omit<Attempt, 'group'>[]): readonly Attempt[] =>
  list.map((attempt) => ({ group, ...attempt }));

export const ATTEMPTS: readonly Attempt[] = [
  ...inGroup('files', files),
  ...inGroup('processes', processes),
  ...sockets,
  ...inGroup('kernel', kernel),
  ...inGroup('exhaustion', exhaustion),
];
