// A plan from the flags of minijail0. What cannot be done as it does it is refused, with the reason.

import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { errors } from '../errors.ts';
import { parseCapabilities } from './capabilities.ts';
import { evaluateConstant } from './constants.ts';
import { type Flag, readCommandLine } from './minijail-flags.ts';
import { type JailPlan, type JailPlanInput, parsePlan } from './plan.ts';

type Draft = { -readonly [K in keyof JailPlanInput]: JailPlanInput[K] };
type MountInput = NonNullable<JailPlanInput['mounts']>[number];

export interface MinijailRun {
  readonly plan: JailPlan;
  readonly program: readonly string[];
  /** The flags but --config and --gen-config, where --gen-config asks for a file of them. */
  readonly genConfig: { readonly file: string; readonly text: string } | undefined;
  readonly help: boolean;
}

const MIB = 2 ** 20;
const DEFAULT_TMP_BYTES = 64 * MIB;
const DEFAULT_FILTER = '/etc/security/minijail/v0.bpf';
const MS = { RDONLY: 1n, NOSUID: 2n, NODEV: 4n, NOEXEC: 8n, BIND: 0x1000n, REC: 0x4000n } as const;
/** setrlimit(2), include/uapi/asm-generic/resource.h */
const RESOURCES = [
  ...['cpu', 'fsize', 'data', 'stack', 'core', 'rss', 'nproc', 'nofile', 'memlock', 'as', 'locks', 'sigpending'],
  ...['msgqueue', 'nice', 'rtprio', 'rttime'],
];
/** Landlock rules of --fs-default-paths. */
const DEFAULT_PATHS = {
  rx: ['/bin', '/sbin', '/usr/sbin', '/usr/bin', '/lib', '/lib64', '/usr/lib', '/usr/lib64'],
  ro: ['/etc/ld.so.cache', '/etc/localtime', '/usr/share/zoneinfo'],
} as const;

const refuse = (flag: string, why: string) => errors.SANDBOX_ERR_FLAG({ details: { flag, why } });

class Reader {
  readonly draft: Draft = { namespaces: {}, mounts: [], rlimits: [], fds: [], environment: {} };
  readonly #cwd: string;
  readonly #seen: Set<string> = new Set();
  #userId: number | undefined;
  #userGid: number | undefined;
  #tmpBytes: number | undefined;
  #devices = false;
  #readOnlyProc = false;
  #binds: Flag[] = [];
  #filter: 'S' | 's' | 'seccomp-bpf-binary' | undefined;
  #log = false;
  #landlock: { path: string; access: 'rx' | 'ro' | 'rw' | 'advanced-rw' }[] = [];
  #landlockAbi = 2;
  #noRestrictions = false;
  #defaultRuntime = true;
  #propagation: Flag | undefined;
  #maps: { uid?: string | true; gid?: string | true } = {};
  help = false;
  genConfig: string | undefined;

  constructor(cwd: string) {
    this.#cwd = cwd;
  }

  take(flag: Flag): void {
    const { name, shown } = flag;
    const value = flag.value ?? '';
    const { draft } = this;
    const namespaces = draft.namespaces as NonNullable<Draft['namespaces']>;
    this.#seen.add(name);
    switch (name) {
      case 'u':
        return this.#user(flag);
      case 'g':
        if (draft.gid !== undefined && this.#userGid === undefined) throw refuse(shown, 'it is given twice');
        draft.gid = idOf(value, '/etc/group', shown);
        this.#userGid = undefined;
        return;
      case 'n':
        draft.noNewPrivileges = true;
        return;
      case 's':
        throw refuse(
          shown,
          'in strict mode a program cannot even be started, which minijail0 does from inside of it; use -S',
        );
      case 'S':
      case 'seccomp-bpf-binary':
        return this.#seccomp(flag);
      case 'L':
        this.#log = true;
        return;
      case 'Y':
        return; // The filter is there before there are threads.
      case 'allow-speculative-execution':
        throw refuse(shown, 'bubblewrap installs filters without SECCOMP_FILTER_FLAG_SPEC_ALLOW');
      case 'b':
        this.#binds.push(flag);
        return void (draft.mounts as MountInput[]).push(bindMount(value, shown));
      case 'k':
        return void (draft.mounts as MountInput[]).push(otherMount(value, shown));
      case 'B':
        if (hex(value, shown) !== 0n) throw refuse(shown, 'securebits are never set, so there are none to be skipped');
        return;
      case 'c': {
        const names = parseCapabilities(value);
        if (names === undefined) throw refuse(shown, `"${value}" is no set of capabilities`);
        draft.capabilities = names;
        return;
      }
      case 'ambient':
        draft.ambient = true;
        return;
      case 'C':
      case 'P':
        if (draft.root !== undefined) throw refuse(shown, '-C and -P exclude each other, and each may be given once');
        draft.root = { path: this.#path(value, shown), by: name === 'C' ? 'chroot' : 'pivot_root' };
        if (name === 'P') namespaces.mount = 'new';
        return;
      case 'K':
        this.#propagation = flag;
        return;
      case 'f':
        draft.pidFile = this.#path(value, shown);
        return;
      case 't':
        namespaces.mount = 'new';
        this.#tmpBytes = flag.value === undefined ? (this.#tmpBytes ?? DEFAULT_TMP_BYTES) : sizeOf(value, shown);
        return;
      case 'v':
        namespaces.mount = 'new';
        return;
      case 'V':
        namespaces.mount = { enter: this.#path(value, shown) };
        return;
      case 'r':
        this.#readOnlyProc = true;
        namespaces.mount ??= 'new';
        return;
      case 'd':
        namespaces.mount = 'new';
        this.#devices = true;
        return;
      case 'G':
      case 'y':
        if (this.#seen.has(name === 'G' ? 'y' : 'G')) throw refuse(shown, '-y and -G are not compatible');
        draft.groups = name === 'G' ? 'of-user' : 'keep';
        return;
      case 'add-suppl-group':
        draft.groups = [...(Array.isArray(draft.groups) ? draft.groups : []), idOf(value, '/etc/group', shown)];
        return;
      case 'N':
        namespaces.cgroup = 'new';
        return;
      case 'l':
        namespaces.ipc = 'new';
        return;
      case 'p':
      case 'I':
      case 'U':
        namespaces.pid = 'new';
        namespaces.mount ??= 'new';
        this.#readOnlyProc = true;
        if (name === 'I') draft.init = 'program';
        if (name === 'U') namespaces.user = 'new';
        return;
      case 'm':
        this.#maps.uid = flag.value ?? true;
        return;
      case 'M':
        this.#maps.gid = flag.value ?? true;
        return;
      case 'e':
        namespaces.net = flag.value === undefined ? 'new' : { enter: this.#path(value, shown) };
        return;
      case 'uts':
        namespaces.uts = 'new';
        if (value !== '') draft.hostname = value;
        return;
      case 'a':
        throw refuse(shown, 'tables of alternative system calls are a patch of ChromeOS that no other kernel has');
      case 'R':
        return void (draft.rlimits as unknown[]).push(rlimitOf(value, shown));
      case 'T':
        if (value === 'static') return; // Nothing is ever loaded into the program.
        if (value !== 'dynamic') throw refuse(shown, 'it must be static or dynamic');
        throw refuse(
          shown,
          'nothing is loaded into the program: what a filter allows must include its start; use -T static',
        );
      case 'preload-library':
        throw refuse(shown, 'nothing is loaded into the program');
      case 'w':
        throw refuse(shown, 'there is no program of the system that starts a session keyring and replaces itself');
      case 'z':
        draft.forwardSignals = false;
        return;
      case 'i':
        draft.background = true;
        return;
      case 'profile':
        return this.#useProfile(flag);
      case 'enable-profile-fs-restrictions':
        throw refuse(
          shown,
          'bubblewrap cannot mount under landlock, and in the root of a profile nothing could apply it later',
        );
      case 'fs-default-paths':
        for (const access of ['rx', 'ro'] as const) {
          for (const path of DEFAULT_PATHS[access]) this.#landlock.push({ path, access });
        }
        return;
      case 'fs-path-rx':
      case 'fs-path-ro':
      case 'fs-path-rw':
      case 'fs-path-advanced-rw':
        this.#landlock.push({
          path: this.#path(value, shown),
          access: name.slice('fs-path-'.length) as 'rx' | 'ro' | 'rw' | 'advanced-rw',
        });
        return;
      case 'landlock-abi': {
        const abi = Number(value);
        if (!/^\d+$/.test(value) || abi < 1 || abi > 5) throw refuse(shown, 'it must be 1 to 5');
        this.#landlockAbi = abi;
        return;
      }
      case 'no-fs-restrictions':
        this.#noRestrictions = true;
        return;
      case 'no-default-runtime-environment':
        this.#defaultRuntime = false;
        return;
      case 'no-new-sessions':
        this.#seen.add('no-new-sessions');
        return;
      case 'preserve-fd':
        if (!/^\d+$/.test(value)) throw refuse(shown, 'it must be a number');
        if (Number(value) > 2) (draft.fds as number[]).push(Number(value));
        return;
      case 'env-reset':
        draft.environment = { inherit: false, set: {} };
        return;
      case 'env-add': {
        const [, variable = '', text = ''] = /^([^=]+)=([\s\S]*)$/.exec(value) ?? [];
        if (variable === '') throw refuse(shown, 'it must be NAME=VALUE');
        draft.environment = { ...draft.environment, set: { ...draft.environment?.set, [variable]: text } };
        return;
      }
      case 'logging':
        if (!['auto', 'syslog', 'stderr'].includes(value)) throw refuse(shown, 'it must be auto, syslog or stderr');
        if (value === 'syslog') throw refuse(shown, 'messages go to standard error');
        return;
      case 'gen-config':
        this.genConfig = this.#path(value, shown);
        return;
      case 'h':
      case 'H':
        this.help = true;
        return;
      default:
        throw refuse(shown, 'it is not known');
    }
  }

  finish(): Draft {
    const { draft } = this;
    const namespaces = draft.namespaces as NonNullable<Draft['namespaces']>;
    const mounts = draft.mounts as MountInput[];
    const hasOwnMounts = namespaces.mount === 'new';
    const isElsewhere = hasOwnMounts || draft.root !== undefined;
    if (this.#binds.length > 0 && !isElsewhere) throw refuse('-b', 'it needs -v, -C or -P');
    if (mounts.length > 0 && !hasOwnMounts) {
      throw refuse(
        this.#binds.length > 0 ? '-b' : '-k',
        'without -v it would change what all processes of the host see',
      );
    }
    this.#checkPropagation(hasOwnMounts);
    if (typeof namespaces.mount === 'object' && isElsewhere && hasOwnMounts) throw refuse('-V', 'not together with -v');
    if (draft.ambient !== true && (draft.capabilities?.length ?? 0) > 0) {
      throw refuse('-c', 'without anything loaded into the program they are lost as it starts: add --ambient');
    }
    if (draft.ambient === true && draft.capabilities === undefined) throw refuse('--ambient', 'it needs -c');
    if (this.#devices) mounts.unshift({ kind: 'dev', target: '/dev' });
    if (this.#tmpBytes !== undefined) {
      mounts.push({ kind: 'tmpfs', target: '/tmp', size: this.#tmpBytes, mode: '1777', writable: true });
    }
    if (this.#readOnlyProc) {
      if (!hasOwnMounts) throw refuse('-r', 'not in the namespace of another');
      mounts.push({ kind: 'proc', target: '/proc' });
    }
    this.#finishUser(namespaces);
    this.#finishSeccomp();
    this.#finishLandlock(hasOwnMounts);
    return draft;
  }

  #checkPropagation(hasOwnMounts: boolean): void {
    if (this.#propagation === undefined) return;
    const { shown, value } = this.#propagation;
    if (!hasOwnMounts || !this.#seen.has('v')) throw refuse(shown, 'there is no need for it without -v');
    if (value !== undefined && !['slave', 'private', 'shared', 'unbindable'].includes(value)) {
      throw refuse(shown, 'it must be slave, private, shared or unbindable');
    }
    if (value !== 'slave') throw refuse(shown, 'bubblewrap makes every mount a slave of the one outside: only -Kslave');
  }

  #finishUser(namespaces: NonNullable<Draft['namespaces']>): void {
    const { draft } = this;
    const hasMaps = this.#maps.uid !== undefined || this.#maps.gid !== undefined;
    if (namespaces.user !== 'new') {
      if (hasMaps) throw refuse('-m', 'there is nothing to map without -U');
    } else {
      if (this.#maps.uid === undefined || this.#maps.gid === undefined) {
        throw refuse('-U', 'without -m and -M it would have no user, and could not create what its mounts need');
      }
      const [ownUid, ownGid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0];
      draft.idMaps = {
        uid: mapOf(this.#maps.uid, draft.uid ?? 0, ownUid, '-m'),
        gid: mapOf(this.#maps.gid, draft.gid ?? 0, ownGid, '-M'),
      };
      checkMapped(draft.idMaps.uid, ownUid, '-m');
      checkMapped(draft.idMaps.gid, ownGid, '-M');
    }
    if (draft.uid !== undefined || draft.gid !== undefined) draft.groups ??= 'none';
    if (draft.groups === 'of-user' && !this.#seen.has('u')) throw refuse('-G', 'it needs -u with the name of a user');
  }

  #finishSeccomp(): void {
    const { draft } = this;
    if (this.#filter === undefined) {
      if (this.#log && this.#seen.has('seccomp-bpf-binary')) throw refuse('-L', 'not with --seccomp-bpf-binary');
      if (this.#defaultRuntime) {
        if (existsSync(DEFAULT_FILTER)) draft.seccomp = { program: DEFAULT_FILTER };
        draft.noNewPrivileges = true;
      }
      return;
    }
    if (draft.seccomp !== undefined && 'policy' in draft.seccomp) draft.seccomp = { ...draft.seccomp, log: this.#log };
    else if (this.#log) throw refuse('-L', 'not with --seccomp-bpf-binary');
  }

  #finishLandlock(hasOwnMounts: boolean): void {
    if (this.#landlock.length === 0) return;
    if (this.#noRestrictions) throw refuse('--no-fs-restrictions', 'not together with flags that restrict paths');
    if (hasOwnMounts)
      throw refuse(
        '--fs-path-rx and its like',
        'bubblewrap cannot mount under landlock: only without -v, -p, -P, -t and -d',
      );
    this.draft.landlock = { abi: this.#landlockAbi, rules: this.#landlock };
  }

  #user({ value = '', shown }: Flag): void {
    if (this.#userId !== undefined) throw refuse(shown, 'it is given twice');
    const entry = lookUp(value, '/etc/passwd');
    if (/^\d+$/.test(value)) this.#userId = idOf(value, '/etc/passwd', shown);
    else {
      if (entry === undefined) throw refuse(shown, `there is no user "${value}"`);
      this.#userId = Number(entry[2]);
      if (this.draft.gid === undefined) {
        this.#userGid = Number(entry[3]);
        this.draft.gid = this.#userGid;
      }
    }
    this.draft.uid = this.#userId;
  }

  #seccomp({ name, value = '', shown }: Flag): void {
    const kind = name as 'S' | 'seccomp-bpf-binary';
    if (this.#filter !== undefined && this.#filter !== kind)
      throw refuse(shown, '-s, -S and --seccomp-bpf-binary exclude each other');
    this.#filter = kind;
    const path = this.#path(value, shown);
    this.draft.seccomp = kind === 'S' ? { policy: path, dialect: 'c' } : { program: path };
  }

  #useProfile({ value = '', shown }: Flag): void {
    if (value !== 'minimalistic-mountns' && value !== 'minimalistic-mountns-nodev') {
      throw refuse(shown, `there is no profile "${value}": minimalistic-mountns and minimalistic-mountns-nodev`);
    }
    if (this.draft.root !== undefined) throw refuse(shown, 'it has -P of its own, which excludes -P and -C');
    this.draft.namespaces = { ...this.draft.namespaces, mount: 'new' };
    this.draft.root = 'empty';
    const mounts = this.draft.mounts as MountInput[];
    mounts.push(bindMount('/', shown), bindMount('/proc', shown));
    if (value === 'minimalistic-mountns') {
      this.#devices = true;
      mounts.push({ ...bindMount('/dev/log', shown), optional: true });
    }
    this.#tmpBytes ??= DEFAULT_TMP_BYTES;
    this.#readOnlyProc = true;
  }

  #path(value: string, shown: string): string {
    if (value === '') throw refuse(shown, 'a path must follow');
    return resolve(this.#cwd, value);
  }
}

/** @throws SANDBOX_ERR_FLAG, SANDBOX_ERR_JAIL */
export function planFromMinijail(argv: readonly string[], cwd: string): MinijailRun {
  const { flags, program } = readCommandLine(argv, cwd);
  const reader = new Reader(cwd);
  for (const flag of flags) reader.take(flag);
  if (reader.help) return { plan: parsePlan({}, 'minijail0'), program, genConfig: undefined, help: true };
  const text = [
    '% minijail-config-file v0',
    '',
    ...flags.filter(({ name }) => name !== 'gen-config').map(configLine),
    '',
  ];
  const genConfig = reader.genConfig === undefined ? undefined : { file: reader.genConfig, text: text.join('\n') };
  return { plan: parsePlan(reader.finish(), 'the flags of minijail0'), program, genConfig, help: false };
}

function configLine({ name, value }: Flag): string {
  return value === undefined ? name : `${name} = ${value}`;
}

function bindMount(value: string, shown: string): MountInput {
  const [source = '', dest = '', writable = '', ...more] = value.split(',');
  if (source === '' || more.length > 0) throw refuse(shown, `"${value}" is not SOURCE[,TARGET[,WRITABLE]]`);
  if (!source.startsWith('/')) throw refuse(shown, 'the source must be an absolute path');
  if (!['', '0', '1'].includes(writable)) throw refuse(shown, `the part after the second comma must be 0 or 1`);
  return { kind: 'bind', source, target: dest === '' ? source : dest, writable: writable === '1', devices: true };
}

function otherMount(value: string, shown: string): MountInput {
  const [source = '', target = '', type = '', flagText = '', ...rest] = value.split(',');
  if (source === '' || target === '' || type === '')
    throw refuse(shown, `"${value}" is not SOURCE,TARGET,TYPE[,FLAGS[,DATA]]`);
  const flags = flagText === '' ? MS.NODEV | MS.NOEXEC | MS.NOSUID : evaluateConstant(flagText);
  if (flags === undefined) throw refuse(shown, `"${flagText}" are no flags of mount(2)`);
  const data = rest.join(',');
  const writable = (flags & MS.RDONLY) === 0n;
  if ((flags & MS.BIND) !== 0n) {
    if (data !== '') throw refuse(shown, 'nothing can follow the flags of a bind mount');
    if ((flags & ~(MS.BIND | MS.REC | MS.RDONLY | MS.NOSUID | MS.NODEV)) !== 0n)
      throw refuse(shown, 'bubblewrap has only read-only, nosuid and nodev for bind mounts');
    return { kind: 'bind', source, target, writable, devices: (flags & MS.NODEV) === 0n };
  }
  // mode, size and the like of tmpfs; others mean what cannot be told to bubblewrap.
  const known: Record<string, string> = Object.fromEntries(
    data === '' ? [] : data.split(',').map((part) => part.split('=')),
  );
  const strange = Object.keys(known).filter((key) => type !== 'tmpfs' || (key !== 'mode' && key !== 'size'));
  if (strange.length > 0) throw refuse(shown, `bubblewrap cannot be told ${strange.join(', ')} of a mount`);
  if ((flags & ~(MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC)) !== 0n)
    throw refuse(shown, 'bubblewrap knows only read-only, nosuid, nodev and noexec');
  switch (type) {
    case 'tmpfs':
      return { kind: 'tmpfs', target, size: sizeOf(known.size ?? '10M', shown), mode: known.mode ?? '0755', writable };
    case 'proc':
      return { kind: 'proc', target, writable };
    case 'mqueue':
      return { kind: 'mqueue', target, writable };
    default:
      throw refuse(shown, `bubblewrap mounts tmpfs, proc and mqueue, and binds; not ${type}`);
  }
}

function rlimitOf(
  value: string,
  shown: string,
): { resource: string; soft: number | 'unlimited'; hard: number | 'unlimited' } {
  const [type = '', soft = '', hard = '', ...more] = value.split(',');
  if (hard === '' || more.length > 0) throw refuse(shown, `"${value}" is not RESOURCE,SOFT,HARD`);
  const at = /^\d/.test(type) ? Number(type) : RESOURCES.indexOf(type.toLowerCase().replace(/^rlimit_/, ''));
  const resource = RESOURCES[at];
  if (resource === undefined) throw refuse(shown, `there is no resource "${type}"`);
  const count = (text: string) => {
    if (text === 'unlimited') return text;
    if (!/^(0x[0-9a-f]+|\d+)$/i.test(text)) throw refuse(shown, `"${text}" is no limit`);
    const octal = /^0[0-7]+$/.test(text);
    return octal ? Number.parseInt(text, 8) : Number(text);
  };
  return { resource, soft: count(soft), hard: count(hard) };
}

function sizeOf(text: string, shown: string): number {
  const [, digits, unit = ''] = /^(\d+)([kmgtKMGT]?)$/.exec(text) ?? [];
  if (digits === undefined || Number(digits) < 1) throw refuse(shown, `"${text}" is no size: 64M and the like`);
  return Number(digits) * 1024 ** ['', 'k', 'm', 'g', 't'].indexOf(unit.toLowerCase());
}

function mapOf(text: string | true, inside: number, outside: number, shown: string) {
  if (text === true) return [{ inside, outside, count: 1 }];
  return text.split(',').map((part) => {
    const numbers = part.trim().split(/\s+/).map(Number);
    const [first, second, count] = numbers;
    if (numbers.length !== 3 || numbers.some((n) => !Number.isInteger(n) || n < 0)) {
      throw refuse(shown, `"${part}" is not INSIDE OUTSIDE COUNT`);
    }
    return { inside: first as number, outside: second as number, count: count as number };
  });
}

function checkMapped(maps: readonly { outside: number; count: number }[], own: number, shown: string): void {
  if (maps.some(({ outside, count }) => own >= outside && own < outside + count)) return;
  throw refuse(shown, `${own}, whose mounts they are, must be among those that are mapped`);
}

function hex(text: string, shown: string): bigint {
  const digits = text.replace(/^0x/i, '');
  if (!/^[0-9a-f]{1,16}$/i.test(digits)) throw refuse(shown, `"${text}" is no hexadecimal mask`);
  return BigInt(`0x${digits}`);
}

function idOf(text: string, file: string, shown: string): number {
  if (/^\d{1,10}$/.test(text) && Number(text) < 0xffff_ffff) return Number(text);
  const entry = lookUp(text, file);
  if (entry === undefined) throw refuse(shown, `"${text}" is not in ${file}`);
  return Number(entry[2]);
}

function lookUp(name: string, file: string): readonly string[] | undefined {
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.map((line) => line.split(':')).find(([first]) => first === name);
}
