// Which signals are wanted: https://dbus.freedesktop.org/doc/dbus-specification.html#message-bus-routing-match-rules

import type { Incoming } from './message.ts';
import { checkName } from './names.ts';

export interface SignalRule {
  /** A unique or a well-known name; default: whoever. */
  readonly sender?: string;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  /** The first value, a string. */
  readonly arg0?: string;
}

const KINDS = { sender: 'bus name', path: 'object path', interface: 'interface', member: 'member' } as const;

/** As the bus wants it. @throws SDK_ERR_DBUS_VALUE */
export function matchRule(rule: SignalRule): string {
  const parts = ["type='signal'"];
  for (const [key, kind] of Object.entries(KINDS)) {
    const value = rule[key as keyof typeof KINDS];
    if (value === undefined) continue;
    checkName(kind, value);
    parts.push(`${key}='${value}'`);
  }
  // Within quotes there is no escape; without them, a backslash and a quote are.
  if (rule.arg0 !== undefined) parts.push(`arg0='${rule.arg0.replaceAll("'", "'\\''")}'`);
  return parts.join(',');
}

/** Whether it is meant; `owner` is who has the name of the rule's sender. What needs the values is looked at elsewhere. */
export function matches(rule: SignalRule, signal: Incoming, owner: string | undefined): boolean {
  return (
    (rule.sender === undefined || signal.sender === owner) &&
    (rule.path === undefined || rule.path === signal.path) &&
    (rule.interface === undefined || rule.interface === signal.interface) &&
    (rule.member === undefined || rule.member === signal.member)
  );
}
