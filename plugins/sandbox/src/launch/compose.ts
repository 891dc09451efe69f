// The programs that make a jail one after the other, each replaced by the next:
//
//   nsenter → prlimit → bwrap, or unshare and chroot → setpriv → confine-main.ts → the program
//
// Only those that the plan needs.

import { existsSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { errors } from '../errors.ts';
import { CAPABILITIES } from '../jail/capabilities.ts';
import type { IdMap, JailPlan } from '../jail/plan.ts';
import { encode } from '../policy/bpf.ts';
import { compilePolicy } from '../policy/compile.ts';
import { parsePolicy } from '../policy/parse.ts';
import { architectureCalled, tablesOf } from '../policy/tables.ts';
import { bubblewrap } from './bubblewrap.ts';
import { findTool } from './host-tools.ts';

export const SECCOMP_FD = 10;
export const INFO_FD = 11;
export const BLOCK_FD = 12;
const CONFINE = join(import.meta.dirname, `confine-main${extname(import.meta.filename)}`);

export interface Composed {
  readonly argv: readonly [string, ...string[]];
  /** For descriptor SECCOMP_FD. */
  readonly filter: Uint8Array | undefined;
  /** Says its pid on INFO_FD. */
  readonly tells: boolean;
  /** Waits on BLOCK_FD for its maps. */
  readonly waits: boolean;
}

const unsupported = (what: string, why: string, hint: string) =>
  errors.SANDBOX_ERR_UNSUPPORTED({ details: { what, why, hint } });

/** @throws SANDBOX_ERR_UNSUPPORTED, SANDBOX_ERR_POLICY */
export function compose(plan: JailPlan, program: readonly string[]): Composed {
  const { namespaces } = plan;
  const filter = plan.seccomp === undefined ? undefined : filterOf(plan.seccomp);
  const hasOwnMounts = namespaces.mount === 'new';
  const user = setprivOptions(plan);
  const late = user.length > 0 || !hasOwnMounts;
  const confined = plan.landlock !== undefined || (filter !== undefined && late);
  const early = filter !== undefined && !confined;
  const tells = hasOwnMounts && (plan.pidFile !== undefined || needsMaps(plan));
  const waits = hasOwnMounts && needsMaps(plan);
  const inner = [
    ...(user.length > 0 ? [inJail(plan, tool('setpriv', 'util-linux')), ...user, '--'] : []),
    ...(confined ? confine(plan, filter) : []),
    ...program,
  ];
  const outer = hasOwnMounts ? ownMounts(plan, { early, tells, waits, keeps: user.length > 0 }) : hostMounts(plan);
  const argv = [...entered(plan), ...limits(plan), ...outer, ...inner] as [string, ...string[]];
  return { argv, filter: early ? filter : undefined, tells, waits };
}

function tool(name: string, debianPackage: string): string {
  const file = findTool(name);
  if (file === undefined) throw unsupported('the jail', `there is no ${name}`, `apt-get install ${debianPackage}`);
  return file;
}

function entered({ namespaces: { mount, net } }: JailPlan): string[] {
  const files = [
    ...(typeof mount === 'object' ? [`--mount=${mount.enter}`] : []),
    ...(typeof net === 'object' ? [`--net=${net.enter}`] : []),
  ];
  return files.length === 0 ? [] : [tool('nsenter', 'util-linux'), ...files, '--'];
}

function limits({ rlimits }: JailPlan): string[] {
  if (rlimits.length === 0) return [];
  const options = rlimits.map(({ resource, soft, hard }) => `--${resource}=${soft}:${hard}`);
  return [tool('prlimit', 'util-linux'), ...options, '--'];
}

interface OwnMounts {
  readonly early: boolean;
  readonly tells: boolean;
  readonly waits: boolean;
  readonly keeps: boolean;
}

function ownMounts(plan: JailPlan, { early, tells, waits, keeps }: OwnMounts): string[] {
  const program = tool('bwrap', 'bubblewrap');
  const made = bubblewrap(plan, {
    program,
    ...(early ? { seccompFd: SECCOMP_FD } : {}),
    ...(waits ? { mapsBy: { infoFd: INFO_FD, blockFd: BLOCK_FD } } : {}),
    ...(keeps ? { keepsCapabilities: true } : {}),
  });
  return tells && !waits ? [program, '--info-fd', String(INFO_FD), ...made.slice(1)] : made;
}

function hostMounts(plan: JailPlan): string[] {
  const { namespaces, hostname, root } = plan;
  const own = (['ipc', 'net', 'uts', 'cgroup'] as const).filter((kind) => namespaces[kind] === 'new');
  const settings = [
    ...(namespaces.net === 'new' ? [`${tool('ip', 'iproute2')} link set lo up`] : []),
    ...(hostname === undefined ? [] : [`echo "$0" > /proc/sys/kernel/hostname`]),
  ];
  return [
    ...(own.length === 0 ? [] : [tool('unshare', 'util-linux'), ...own.map((kind) => `--${kind}`), '--']),
    ...(settings.length === 0 ? [] : ['/bin/sh', '-c', `${settings.join(' && ')} && exec "$@"`, hostname ?? 'sh']),
    ...(typeof root === 'object' ? [tool('chroot', 'coreutils'), root.path] : []),
  ];
}

/** Those who are somebody else inside than bubblewrap makes them, and all outside of it. */
function setprivOptions(plan: JailPlan): string[] {
  const { namespaces, uid, gid, groups, capabilities, ambient, noNewPrivileges } = plan;
  const byBubblewrap = namespaces.mount === 'new';
  const isMapped = namespaces.user === 'new';
  // In a user namespace of one user bubblewrap has made it that one.
  const changes = isMapped
    ? needsMaps(plan) && (uid !== undefined || gid !== undefined)
    : uid !== undefined || gid !== undefined;
  const identity = [
    ...(changes && uid !== undefined ? [`--reuid=${uid}`] : []),
    ...(changes && gid !== undefined ? [`--regid=${gid}`] : []),
    ...(changes || (groups !== undefined && !isMapped) ? groupOptions(plan) : []),
  ];
  const needsCapabilities = capabilities !== undefined && (!byBubblewrap || identity.length > 0 || ambient);
  const names = (capabilities ?? []).map((name) => `+${name.slice('cap_'.length)}`);
  const set = ['-all', ...names].join(',');
  const held =
    capabilities?.length === CAPABILITIES.length
      ? []
      : [`--inh-caps=${set}`, ...(ambient ? [`--ambient-caps=${set}`] : []), `--bounding-set=${set}`];
  return [
    ...identity,
    ...(needsCapabilities ? held : []),
    ...(noNewPrivileges && !byBubblewrap ? ['--no-new-privs'] : []),
  ];
}

function groupOptions({ groups, gid }: JailPlan): string[] {
  if (groups === 'keep') return ['--keep-groups'];
  if (groups === 'of-user') return ['--init-groups'];
  if (Array.isArray(groups)) return groups.length === 0 ? ['--clear-groups'] : [`--groups=${groups.join(',')}`];
  // setpriv insists on it where the group is changed.
  return groups === 'none' || gid !== undefined ? ['--clear-groups'] : [];
}

function confine(plan: JailPlan, filter: Uint8Array | undefined): string[] {
  const job = {
    landlock: plan.landlock,
    filter: filter === undefined ? undefined : Buffer.from(filter).toString('base64'),
  };
  const flags = CONFINE.endsWith('.ts') ? ['--conditions=@runtime/source'] : [];
  return [
    inJail(plan, process.execPath),
    '--disable-warning=ExperimentalWarning',
    ...flags,
    inJail(plan, CONFINE),
    JSON.stringify(job),
  ];
}

/** A program of the host that the jail needs inside. @throws SANDBOX_ERR_UNSUPPORTED */
function inJail(plan: JailPlan, file: string): string {
  const place = hostPath(plan, file);
  if (place !== undefined && existsSync(place)) return file;
  const why = `${file} must start the program, and is not in its root`;
  throw unsupported('another user, capabilities or a filter', why, `bind the folder of ${file} as well`);
}

/** What a path inside is outside; `undefined`: nothing of the host. */
export function hostPath({ root, mounts }: JailPlan, path: string): string | undefined {
  const over = mounts.findLast(
    ({ kind, target }) => kind !== 'dir' && (target === '/' || path === target || path.startsWith(`${target}/`)),
  );
  if (over === undefined) {
    if (root === 'host') return path;
    return root === 'empty' ? undefined : join(root.path, path);
  }
  if (over.kind !== 'bind') return undefined;
  return join(over.source ?? '/', path.slice(over.target === '/' ? 0 : over.target.length));
}

function needsMaps({ namespaces, idMaps }: JailPlan): boolean {
  if (namespaces.user !== 'new' || idMaps === undefined) return false;
  const own = (maps: readonly IdMap[], id: number | undefined) =>
    maps.length === 1 && maps[0]?.count === 1 && maps[0].outside === id;
  return !own(idMaps.uid, process.getuid?.()) || !own(idMaps.gid, process.getgid?.());
}

function filterOf(seccomp: NonNullable<JailPlan['seccomp']>): Uint8Array {
  if ('program' in seccomp) return readFileSync(seccomp.program);
  const policy = parsePolicy(seccomp.policy, {
    dialect: seccomp.dialect,
    tables: tablesOf(architectureCalled(process.arch)),
    kill: seccomp.log ? 'log' : 'kill-process',
    duplicates: true,
  });
  return encode(compilePolicy(policy));
}
