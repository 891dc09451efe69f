// What names may look like: https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-names

import { errors } from '../errors.ts';

/** Who owns the bus itself. */
export const DAEMON = 'org.freedesktop.DBus';
export const DAEMON_PATH = '/org/freedesktop/DBus';

/** Of all but paths. */
const NAME_MAX = 255;

const PATTERNS = {
  'bus name': /^(:[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+|[A-Za-z_-][A-Za-z0-9_-]*(\.[A-Za-z_-][A-Za-z0-9_-]*)+)$/,
  interface: /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$/,
  member: /^[A-Za-z_][A-Za-z0-9_]*$/,
  /** Looks like the name of an interface. */
  'error name': /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$/,
} as const;
export type NameKind = keyof typeof PATTERNS | 'object path';

export function isName(kind: NameKind, name: string): boolean {
  return kind === 'object path' ? isPath(name) : name.length <= NAME_MAX && PATTERNS[kind].test(name);
}

/** Paths may have any length, which a pattern with repeated groups would not survive. */
function isPath(path: string): boolean {
  if (path === '/') return true;
  return path.startsWith('/') && !path.endsWith('/') && !path.includes('//') && !/[^A-Za-z0-9_/]/.test(path);
}

/** @throws SDK_ERR_DBUS_VALUE */
export function checkName(kind: NameKind, name: string): void {
  if (!isName(kind, name))
    throw errors.SDK_ERR_DBUS_VALUE({ details: { value: JSON.stringify(name.slice(0, 80)), what: `the ${kind}` } });
}
