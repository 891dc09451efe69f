// What the first process of a machine does: reboot(2), sethostname(2), clock_settime(2), prlimit(2), waitid(2).

import { check, declare, isLinuxError } from './call.ts';

// ABI: int reboot(int op); reboot(2). It does not return when it succeeds.
const rebootCall = declare<[operation: number], number>('int reboot(int operation)');
// ABI: int sethostname(const char *name, size_t len); sethostname(2). Copied.
const sethostnameCall = declare<[name: Uint8Array, length: number], number>(
  'int sethostname(void *name, size_t length)',
);
// ABI: int clock_settime(clockid_t clockid, const struct timespec *tp); clock_settime(2). timespec is s64 seconds, s64
// nanoseconds on all we run on. Copied.
const clockSettimeCall = declare<[clock: number, time: BigInt64Array], number>(
  'int clock_settime(int clock, void *time)',
);
// ABI: int prlimit(pid_t pid, int resource, const struct rlimit *new, struct rlimit *old); prlimit(2). rlimit is u64 soft,
// u64 hard. Copied; the old one is not asked for.
const prlimitCall = declare<[pid: number, resource: number, limits: BigUint64Array, old: null], number>(
  'int prlimit(int pid, int resource, void *limits, void *old)',
);
// ABI: int waitid(idtype_t idtype, id_t id, siginfo_t *infop, int options); waitid(2). siginfo_t has 128 bytes, and is
// written during the call.
const waitidCall = declare<[kind: number, id: number, info: Int32Array, options: number], number>(
  'int waitid(int kind, unsigned int id, void *info, int options)',
);

/** include/uapi/linux/reboot.h, as the int that it is. */
const REBOOT = { 'power-off': 0x4321_fedc, restart: 0x0123_4567, halt: 0xcdef_0123 | 0 } as const;

/** At once, without writing anything to disks. In a PID namespace its first process is killed. @throws LinuxError EPERM, … */
export function endMachine(how: keyof typeof REBOOT): void {
  check('reboot', rebootCall(REBOOT[how]));
}

/** At most 64 bytes. @throws LinuxError EINVAL, EPERM */
export function setHostName(name: string): void {
  const bytes = Buffer.from(name);
  check('sethostname', sethostnameCall(bytes, bytes.length));
}

const CLOCK_REALTIME = 0;

/** The time of day since 1970, UTC. @throws LinuxError EINVAL, EPERM */
export function setClock(seconds: bigint, nanoseconds: number): void {
  check('clock_settime', clockSettimeCall(CLOCK_REALTIME, BigInt64Array.of(seconds, BigInt(nanoseconds))));
}

/** include/uapi/asm-generic/resource.h; the same on x86-64, arm64 and riscv64. */
const RESOURCES = { openFiles: 7, lockedMemory: 8 } as const;
export type Resource = keyof typeof RESOURCES;
const INFINITY = 0xffff_ffff_ffff_ffffn;

/** Soft and hard limit of this process and of those that it starts later; `undefined`: none. @throws LinuxError EPERM, EINVAL */
export function setResourceLimit(resource: Resource, limit: number | undefined): void {
  const value = limit === undefined ? INFINITY : BigInt(limit);
  check('prlimit', prlimitCall(0, RESOURCES[resource], BigUint64Array.of(value, value), null));
}

const P_ALL = 0;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
const WNOWAIT = 0x0100_0000;
const SIGINFO_WORDS = 32;
/** si_pid u32@16 of siginfo_t. */
const PID_WORD = 4;

/** A child that has ended and was not waited for yet; it stays so. Of several, always the same one. @throws LinuxError */
export function peekEndedChild(): number | undefined {
  return waitChild(P_ALL, 0, WNOWAIT);
}

/** Waits for that child, if it has ended. @returns whether it had @throws LinuxError */
export function reapChild(pid: number): boolean {
  return waitChild(P_PID, pid, 0) === pid;
}

function waitChild(kind: number, id: number, flags: number): number | undefined {
  const info = new Int32Array(SIGINFO_WORDS);
  try {
    check('waitid', waitidCall(kind, id, info, WEXITED | WNOHANG | flags));
  } catch (e) {
    // There are no children.
    if (isLinuxError(e, 'ECHILD')) return undefined;
    throw e;
  }
  const pid = info[PID_WORD] as number;
  return pid === 0 ? undefined : pid;
}
