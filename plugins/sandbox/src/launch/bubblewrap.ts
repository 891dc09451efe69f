// A plan as the command line of bubblewrap: namespaces, mounts, capabilities, and a filter of system calls.

import { CAPABILITIES } from '../jail/capabilities.ts';
import type { JailMount, JailPlan } from '../jail/plan.ts';

export interface BubblewrapParts {
  readonly program: string;
  /** Descriptor of the child from which it reads the filter. */
  readonly seccompFd?: number;
  /** The maps are written by whoever starts it: it tells its pid on the one, and waits for the other. */
  readonly mapsBy?: { readonly infoFd: number; readonly blockFd: number };
  /** Its capabilities are taken by what comes after. */
  readonly keepsCapabilities?: boolean;
}

/** Options of bwrap(1) up to `--`, the program itself among them. */
export function bubblewrap(
  plan: JailPlan,
  { program, seccompFd, mapsBy, keepsCapabilities }: BubblewrapParts,
): string[] {
  const { namespaces, hostname } = plan;
  return [
    program,
    ...(['pid', 'ipc', 'net', 'uts', 'cgroup'] as const).flatMap((kind) =>
      namespaces[kind] === 'new' ? [`--unshare-${kind}`] : [],
    ),
    ...(namespaces.user === 'new' ? userNamespace(plan, mapsBy) : []),
    ...(hostname === undefined ? [] : ['--hostname', hostname]),
    ...rootOf(plan),
    ...plan.mounts.flatMap(mountArguments),
    ...(plan.root === 'empty' ? ['--remount-ro', '/'] : []),
    ...(keepsCapabilities === true ? [] : capabilities(plan)),
    ...(namespaces.pid === 'new' && plan.init === 'program' ? ['--as-pid-1'] : []),
    ...(plan.newSession ? ['--new-session'] : []),
    ...(seccompFd === undefined ? [] : ['--seccomp', String(seccompFd)]),
    '--',
  ];
}

function userNamespace({ uid, gid, idMaps }: JailPlan, mapsBy: BubblewrapParts['mapsBy']): string[] {
  if (mapsBy !== undefined) {
    return ['--unshare-user', '--userns-block-fd', String(mapsBy.blockFd), '--info-fd', String(mapsBy.infoFd)];
  }
  const inside = (id: number | undefined, kind: 'uid' | 'gid') => String(id ?? idMaps?.[kind][0]?.inside ?? 0);
  return ['--unshare-user', '--uid', inside(uid, 'uid'), '--gid', inside(gid, 'gid')];
}

function rootOf({ root }: JailPlan): string[] {
  if (root === 'empty') return [];
  return ['--dev-bind', root === 'host' ? '/' : root.path, '/'];
}

function mountArguments({ kind, target, source = '', writable, devices, optional, size, mode }: JailMount): string[] {
  const perms = mode === undefined ? [] : ['--perms', mode.padStart(4, '0')];
  const sealed = writable ? [] : ['--remount-ro', target];
  switch (kind) {
    case 'bind': {
      const tries = optional ? '-try' : '';
      // Over what may not be there nothing can be mounted again.
      if (!devices || (optional && !writable)) return [`--${writable ? '' : 'ro-'}bind${tries}`, source, target];
      return [`--dev-bind${tries}`, source, target, ...sealed];
    }
    case 'tmpfs':
      return [...(size === undefined ? [] : ['--size', String(size)]), ...perms, '--tmpfs', target, ...sealed];
    case 'dir':
      return [...perms, '--dir', target];
    case 'symlink':
      return ['--symlink', source, target];
    default:
      return [`--${kind}`, target, ...(kind === 'proc' ? sealed : [])];
  }
}

function capabilities({ capabilities: kept }: JailPlan): string[] {
  if (kept === undefined) return [];
  if (kept.length === CAPABILITIES.length) return ['--cap-add', 'ALL'];
  return ['--cap-drop', 'ALL', ...kept.flatMap((name) => ['--cap-add', name.toUpperCase()])];
}
