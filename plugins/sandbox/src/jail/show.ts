// A plan for people: a table of what it guarantees, and of what two plans differ in.

import { CAPABILITIES } from './capabilities.ts';
import { type Guarantee, isRequired, type JailMount, type JailPlan } from './plan.ts';

export interface PlanRow {
  readonly what: string;
  readonly value: string;
  /** Whether the program starts without it; empty where that is no question. */
  readonly guarantee: '' | 'required' | 'best effort';
}

export function planRows(plan: JailPlan): readonly PlanRow[] {
  const rows: PlanRow[] = [];
  const add = (what: string, value: string | undefined, guarantee?: Guarantee): void => {
    if (value === undefined || value === '') return;
    const strength = guarantee === undefined ? '' : isRequired(plan, guarantee) ? 'required' : 'best effort';
    rows.push({ what, value, guarantee: strength });
  };
  const { namespaces, root, capabilities, seccomp, landlock, environment, idMaps, groups } = plan;
  for (const [kind, value] of Object.entries(namespaces)) {
    if (value !== 'host') add(`namespace ${kind}`, value === 'new' ? 'its own' : value.enter, 'namespaces');
  }
  add('host name', plan.hostname);
  if (root !== 'host') add('root', root === 'empty' ? 'empty, read-only' : `${root.path} (${root.by})`, 'namespaces');
  for (const mount of plan.mounts) add(`mount ${mount.target}`, mountText(mount), 'namespaces');
  add('user', plan.uid?.toString());
  add('group', plan.gid?.toString());
  add('groups', Array.isArray(groups) ? groups.join(', ') : groups);
  for (const kind of ['uid', 'gid'] as const) {
    for (const { inside, outside, count } of idMaps?.[kind] ?? []) {
      add(`map of ${kind}`, `${inside} is ${outside} outside, ${count} in all`, 'namespaces');
    }
  }
  add('capabilities', capabilities === undefined ? undefined : capabilityText(capabilities), 'capabilities');
  if (plan.ambient) add('ambient', 'kept by what it starts');
  if (plan.noNewPrivileges) add('no new privileges', 'yes');
  for (const { resource, soft, hard } of plan.rlimits) add(`limit ${resource}`, `${soft}, at most ${hard}`, 'rlimits');
  for (const folder of plan.cgroups) add('cgroup', folder, 'cgroup');
  if (seccomp !== undefined) {
    const text =
      'program' in seccomp
        ? seccomp.program
        : `${seccomp.policy} (${seccomp.dialect}${seccomp.log ? ', only logged' : ''})`;
    add('system calls', text, 'seccomp');
  }
  for (const { path, access } of landlock?.rules ?? []) add(`landlock ${path}`, access, 'landlock');
  if (!environment.inherit) add('environment', 'empty');
  for (const [name, value] of Object.entries(environment.set)) add(`variable ${name}`, value);
  add('descriptors', plan.fds.join(', '));
  if (namespaces.pid === 'new') add('process 1', plan.init === 'program' ? 'the program' : 'a reaper');
  if (plan.background) add('background', 'yes');
  if (!plan.forwardSignals) add('signals', 'are not passed on');
  add('file of its pid', plan.pidFile);
  return rows;
}

function mountText({ kind, source, writable, devices, size, mode }: JailMount): string {
  return [
    source === undefined ? kind : `${kind} of ${source}`,
    writable ? 'writable' : kind === 'symlink' || kind === 'dir' ? '' : 'read-only',
    devices ? 'devices' : '',
    size === undefined ? '' : `${size} bytes`,
    mode ?? '',
  ]
    .filter((part) => part !== '')
    .join(', ');
}

function capabilityText(names: readonly string[]): string {
  if (names.length === CAPABILITIES.length) return 'all';
  return names.length === 0 ? 'none' : names.join(', ');
}

export interface PlanDifference {
  readonly what: string;
  readonly left: string;
  readonly right: string;
}

export function planDifferences(left: JailPlan, right: JailPlan): readonly PlanDifference[] {
  const [a, b] = [left, right].map((plan) => grouped(planRows(plan))) as [Map<string, string>, Map<string, string>];
  const names = [...new Set([...a.keys(), ...b.keys()])];
  return names
    .map((what) => ({ what, left: a.get(what) ?? '', right: b.get(what) ?? '' }))
    .filter(({ left: one, right: other }) => one !== other);
}

function grouped(rows: readonly PlanRow[]): Map<string, string> {
  const map = new Map<string, string>();
  for (const { what, value, guarantee } of rows) {
    const text = guarantee === 'best effort' ? `${value} (best effort)` : value;
    const known = map.get(what);
    map.set(what, known === undefined ? text : `${known}; ${text}`);
  }
  return map;
}
